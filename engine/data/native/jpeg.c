/* Of a JPEG only what the crop needs: rows above it are skipped without the inverse DCT, rows below are never read,
   columns beside it are left out, and the DCT is evaluated at the smallest scale that still covers the target.
   Everything is as Pillow does it otherwise: accurate integer DCT, smooth chroma upsampling. A warning of libjpeg's
   counts as damage. */
#include <stdlib.h>

#include "engine.h"
#include "failure.h"

struct jpeg {
    struct jpeg_decompress_struct decompress;
    struct failure failure;
};

static struct jpeg *jpeg_new(void) {
    struct jpeg *volatile jpeg = calloc(1, sizeof *jpeg);
    if (!jpeg) return NULL;
    jpeg->decompress.err = failure_manager(&jpeg->failure);
    if (setjmp(jpeg->failure.back)) {
        free(jpeg);
        return NULL;
    }
    jpeg_create_decompress(&jpeg->decompress);
    return jpeg;
}

void jpeg_free(struct jpeg *jpeg) {
    if (!jpeg) return;
    jpeg_destroy_decompress(&jpeg->decompress);
    free(jpeg);
}

const char *engine_jpeg_message(const struct workspace *workspace) {
    return workspace->jpeg ? workspace->jpeg->failure.message : "";
}

/* The smallest eighths at which the crop still has `resolution` pixels a side. Only powers of two,
   whose inverse DCTs libjpeg-turbo has as SIMD: with 3, 5, 6 and 7 as well, decoding was 0.93 to 1.04 times as fast
   (photos of 500 px, one core, 128 and 224 px, two turns). */
static int64_t dct_eighths(int64_t height, int64_t width, int64_t resolution) {
    int64_t shorter = height < width ? height : width;
    for (int64_t eighths = 1; eighths < 8; eighths *= 2)
        if (shorter * eighths >= resolution * 8) return eighths;
    return 8;
}

struct region {
    struct span rows, columns;
    struct plane plane;
};

static struct span scaled(struct span whole, int64_t eighths, int64_t end) {
    struct span span = {whole.start * eighths / 8.0, whole.extent * eighths / 8.0, whole.low * eighths / 8,
                        (whole.high * eighths + 7) / 8};
    if (span.high > end) span.high = end;
    return span;
}

/* Decode the rows and columns of the spans into the workspace, with room for the resize behind the pixels. */
static int read_region(struct workspace *workspace, struct span rows, struct span columns, int64_t resolution,
                       int exact, struct region *region, uint8_t **scratch) {
    j_decompress_ptr decompress = &workspace->jpeg->decompress;
    int64_t eighths = exact ? 8 : dct_eighths(rows.high - rows.low, columns.high - columns.low, resolution);
    decompress->scale_num = (unsigned)eighths;
    decompress->scale_denom = 8;
    decompress->out_color_space = JCS_RGB;
    decompress->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(decompress);
    region->rows = scaled(rows, eighths, decompress->output_height);
    region->columns = scaled(columns, eighths, decompress->output_width);
    /* Smooth upsampling looks at a chroma sample's neighbours, so a margin of two pixels keeps the crop's edges what
       they are in the whole image. */
    int64_t from = region->columns.low - 2 > 0 ? region->columns.low - 2 : 0;
    int64_t to = region->columns.high + 2;
    if (to > decompress->output_width) to = decompress->output_width;
    JDIMENSION left = (JDIMENSION)from, width = (JDIMENSION)(to - from);
    if (width < decompress->output_width) jpeg_crop_scanline(decompress, &left, &width);
    if (region->rows.low) jpeg_skip_scanlines(decompress, (JDIMENSION)region->rows.low);
    int64_t stride = 3 * (int64_t)width, lines = region->rows.high - region->rows.low;
    int64_t pixel_bytes = (stride * lines + 63) / 64 * 64;
    uint8_t *pixels =
        workspace_take(workspace, pixel_bytes + resize_scratch(resolution, region->rows, region->columns));
    if (!pixels) return OUT_OF_MEMORY;
    for (int64_t line = 0; line < lines; line++) {
        JSAMPROW row = pixels + line * stride;
        jpeg_read_scanlines(decompress, &row, 1);
    }
    /* The plane's origin is where the whole image's would be, though only the crop's pixels are there. */
    region->plane = (struct plane){pixels - region->rows.low * stride - (int64_t)left * 3, stride, 3};
    *scratch = pixels + pixel_bytes;
    return OK;
}

static int decode(struct workspace *workspace, const struct batch *batch, int64_t row) {
    int64_t resolution = batch->resolution;
    struct span rows = span_of(batch, row, TOP), columns = span_of(batch, row, LEFT);
    if (!workspace->jpeg && !(workspace->jpeg = jpeg_new())) return OUT_OF_MEMORY;
    struct jpeg *jpeg = workspace->jpeg;
    struct region region;
    uint8_t *scratch;
    if (setjmp(jpeg->failure.back)) {
        jpeg_abort_decompress(&jpeg->decompress);
        return BAD_JPEG;
    }
    jpeg_mem_src(&jpeg->decompress, batch->memory + batch->offsets[row], (unsigned long)batch->sizes[row]);
    jpeg_read_header(&jpeg->decompress, TRUE);
    int status = WRONG_SIZE;
    if (jpeg->decompress.image_height == batch->heights[row] && jpeg->decompress.image_width == batch->widths[row])
        status = read_region(workspace, rows, columns, resolution, batch->exact != 0, &region, &scratch);
    jpeg_abort_decompress(&jpeg->decompress);
    if (status == OK)
        resize_rgb(region.plane, region.rows, region.columns, batch->boxes[row * BOX_COLUMNS + FLIP], resolution,
                   batch->out + row * resolution * resolution * 3, scratch);
    return status;
}

void engine_decode_jpeg(const struct batch *batch, const int64_t *rows, int64_t count, struct workspace *workspace) {
    for (int64_t i = 0; i < count; i++) batch->status[rows[i]] = (uint8_t)decode(workspace, batch, rows[i]);
}
