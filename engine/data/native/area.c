/* Resizing when a data set is written: each output sample is the mean over the area that it covers, as OpenCV's
   INTER_AREA has it, so that the same image comes from here and from where this was not built. An axis that grows,
   as chroma's does when 4:2:0 is to become 4:4:4, is interpolated linearly. What lies beyond the last sample is the
   last sample. */
#include <math.h>
#include <string.h>

#include "area.h"

/* Output sample x is the sum of `most` source samples from first[x] on, times weights[x * most + k]. */
struct axis {
    int32_t *first;
    float *weights;
    int most;
};

static int64_t padded(int64_t size) { return (size + 63) / 64 * 64; }

static int most_taps(double step, int64_t available) {
    int taps = step < 1.0 ? 2 : (int)ceil(step) + 1;
    return taps < available ? taps : (int)available;
}

static int64_t axis_bytes(int64_t size, int taps) { return padded(4 * size) + padded(4 * size * taps); }

static double share(double step, double x, int64_t sample, int64_t available) {
    if (step < 1.0) {
        double centre = (x + 0.5) * step - 0.5;
        centre = centre < 0.0 ? 0.0 : centre > available - 1 ? available - 1 : centre;
        double distance = fabs(centre - (double)sample);
        return distance < 1.0 ? 1.0 - distance : 0.0;
    }
    double from = x * step, to = from + step;
    double low = sample > from ? (double)sample : from, high = sample + 1 < to ? (double)sample + 1 : to;
    /* Not the slivers that rounding leaves at the edges. */
    return high - low > 1e-6 ? high - low : 0.0;
}

static struct axis fill_axis(double step, int64_t available, int64_t size, uint8_t **scratch) {
    struct axis axis = {.most = most_taps(step, available)};
    axis.first = (int32_t *)*scratch;
    axis.weights = (float *)(*scratch + padded(4 * size));
    *scratch += axis_bytes(size, axis.most);
    for (int64_t x = 0; x < size; x++) {
        float *weights = axis.weights + x * axis.most;
        int64_t first = (int64_t)floor(step < 1.0 ? (x + 0.5) * step - 0.5 : x * step);
        first = first > available - axis.most ? available - axis.most : first < 0 ? 0 : first;
        double total = 0.0;
        for (int k = 0; k < axis.most; k++) total += share(step, (double)x, first + k, available);
        for (int k = 0; k < axis.most; k++)
            weights[k] = total > 0.0 ? (float)(share(step, (double)x, first + k, available) / total)
                                     : k == axis.most - 1;
        axis.first[x] = (int32_t)first;
    }
    return axis;
}

static void combine_rows(const uint8_t *source, int64_t stride, const float *weights, int count, int64_t elements,
                         float *line) {
    for (int64_t x = 0; x < elements; x++) line[x] = (float)source[x] * weights[0];
    for (int k = 1; k < count; k++)
        if (weights[k] != 0.0f)
            for (int64_t x = 0; x < elements; x++) line[x] += (float)source[k * stride + x] * weights[k];
}

static inline __attribute__((always_inline)) void combine_columns(const float *line, struct axis axis, int most,
                                                                  int channels, int64_t size, uint8_t *out) {
    for (int64_t x = 0; x < size; x++) {
        const float *source = line + (int64_t)axis.first[x] * channels, *weights = axis.weights + x * most;
        for (int channel = 0; channel < channels; channel++) {
            float sum = 0.5f;
            for (int k = 0; k < most; k++) sum += source[k * channels + channel] * weights[k];
            out[x * channels + channel] = (uint8_t)(sum < 255.0f ? sum : 255.0f);
        }
    }
}

/* Constants let the compiler unroll what is most frequent: shrinking by less than two. */
static void write_row(const float *line, struct axis axis, int channels, int64_t size, uint8_t *out) {
    if (axis.most == 3 && channels == 1)
        combine_columns(line, axis, 3, 1, size, out);
    else if (axis.most == 3 && channels == 3)
        combine_columns(line, axis, 3, 3, size, out);
    else
        combine_columns(line, axis, axis.most, channels, size, out);
}

static void copy(const struct sheet *from, const struct sheet *to) {
    int64_t columns = from->columns < to->columns ? from->columns : to->columns;
    for (int64_t y = 0; y < to->rows; y++) {
        const uint8_t *source = from->samples + (y < from->rows ? y : from->rows - 1) * from->stride;
        uint8_t *out = to->samples + y * to->stride;
        memcpy(out, source, (size_t)(columns * to->channels));
        for (int64_t x = columns * to->channels; x < to->columns * to->channels; x++) out[x] = out[x - to->channels];
    }
}

int64_t area_scratch(const struct sheet *from, const struct sheet *to, double step_x, double step_y) {
    return axis_bytes(to->columns, most_taps(step_x, from->columns)) +
           axis_bytes(to->rows, most_taps(step_y, from->rows)) + padded(4 * from->columns * from->channels) + 64;
}

void area_resize(const struct sheet *from, const struct sheet *to, double step_x, double step_y, uint8_t *scratch) {
    if (step_x == 1.0 && step_y == 1.0) {
        copy(from, to);
        return;
    }
    scratch += -(uintptr_t)scratch & 63;
    struct axis columns = fill_axis(step_x, from->columns, to->columns, &scratch);
    struct axis rows = fill_axis(step_y, from->rows, to->rows, &scratch);
    float *line = (float *)scratch;
    for (int64_t y = 0; y < to->rows; y++) {
        const uint8_t *source = from->samples + rows.first[y] * from->stride;
        combine_rows(source, from->stride, rows.weights + y * rows.most, rows.most, from->columns * from->channels,
                     line);
        write_row(line, columns, from->channels, to->columns, to->samples + y * to->stride);
    }
}
