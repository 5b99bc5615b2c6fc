/* What the parts of this library share. The law of the resize is in ../decode/portable_resize.py, with its twin in
   numba, which gives the same bytes. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdint.h>

enum { OK = 0, BAD_JPEG = 1, WRONG_SIZE = 2, OUT_OF_MEMORY = 4 };
enum { TOP, LEFT, HEIGHT, WIDTH, FLIP, BOX_COLUMNS, WINDOW_COLUMNS = FLIP };

/* A batch to decode: one entry of each array for each sample. Mirrored by Batch in library.py. */
struct batch {
    const uint8_t *memory;  /* the whole .beton */
    const int64_t *offsets; /* bytes from `memory` to the record */
    const int64_t *sizes;   /* bytes of the record */
    const int64_t *heights; /* of the stored image, in pixels */
    const int64_t *widths;
    const int32_t *boxes;  /* BOX_COLUMNS for each sample: the pixels that may be read */
    const double *windows; /* TOP to WIDTH for each sample: what becomes the output, inside its box */
    uint8_t *out;         /* resolution x resolution x 3 for each sample */
    uint8_t *status;
    int64_t resolution;
    int64_t exact; /* whether JPEGs are decoded at full scale, whatever the target */
};

/* Pixels lying in memory: `step` bytes from one pixel to the next, `stride` from one row to the next. */
struct plane {
    const uint8_t *pixels;
    int64_t stride;
    int step;
};

/* The source axis on which a crop lies, in that axis' pixels; see ../decode/portable_resize.py. */
struct span {
    double start, extent;
    int64_t low, high;
};

/* One thread's memory, kept from sample to sample; grows as needed. */
struct workspace {
    uint8_t *bytes;
    int64_t capacity;
    struct jpeg *jpeg;
};

/* `size` bytes aligned to 64, or null. What an earlier call gave is lost. */
uint8_t *workspace_take(struct workspace *, int64_t size);
/* Interleaved RGB, cropped to the spans -> out (resolution, resolution, 3). */
extern void (*resize_rgb)(struct plane, struct span rows, struct span columns, int flip, int64_t resolution,
                          uint8_t *out, uint8_t *scratch);
/* Full-range BT.601 Y, U and V, the latter two of half size -> out (resolution, resolution, 3) RGB. */
extern void (*resize_yuv420)(const struct plane[3], struct span rows, struct span columns, int flip,
                             int64_t resolution, uint8_t *out, uint8_t *scratch);
/* Absent, like the rest of jpeg.c, where libjpeg-turbo's headers were not to be had. */
void jpeg_free(struct jpeg *) __attribute__((weak));

/* Bytes of scratch that suffice for a resize to `resolution` from these axes: taps, strips and levels, generously. */
static inline int64_t resize_scratch(int64_t resolution, struct span rows, struct span columns) {
    /* An axis has at most 2 x support + 2 taps a pixel, of 12 bytes each, and 24 bytes a pixel besides. */
    int64_t extents = (int64_t)(rows.extent + columns.extent) + 4;
    int64_t taps = 2 * (2 * resolution * (24 + 12 * 4) + 12 * 2 * extents);
    int64_t strips = 2 * 4 * 8 * (2 * 3 * (columns.high - columns.low + 8) + 12 * extents / resolution + 256);
    int64_t levels = 8 * (3 * resolution + 16);
    return taps + strips + levels + 64 * 32;
}

/* The rows (TOP) or columns (LEFT) of a sample. */
static inline struct span span_of(const struct batch *batch, int64_t row, int start) {
    const int32_t *box = batch->boxes + row * BOX_COLUMNS;
    const double *window = batch->windows + row * WINDOW_COLUMNS;
    int extent = start + HEIGHT - TOP;
    return (struct span){window[start], window[extent], box[start], (int64_t)box[start] + box[extent]};
}

#endif
