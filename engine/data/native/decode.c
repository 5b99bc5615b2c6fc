/* What Python calls: a slice of a batch, one function for each way an image is stored; and each thread's memory. */
#include <stdlib.h>

#include "engine.h"

struct workspace *engine_workspace_new(void) { return calloc(1, sizeof(struct workspace)); }

void engine_workspace_free(struct workspace *workspace) {
    if (!workspace) return;
    if (workspace->jpeg) jpeg_free(workspace->jpeg);
    free(workspace->bytes);
    free(workspace);
}

uint8_t *workspace_take(struct workspace *workspace, int64_t size) {
    if (size > workspace->capacity) {
        int64_t capacity = (size + size / 4 + 63) / 64 * 64;
        free(workspace->bytes);
        workspace->bytes = aligned_alloc(64, capacity);
        workspace->capacity = workspace->bytes ? capacity : 0;
    }
    return workspace->bytes;
}

/* Whether a record has as many bytes as its image's sides take; no other one is read. */
static int has_bytes(const struct batch *batch, int64_t row, int64_t wanted) {
    batch->status[row] = batch->sizes[row] == wanted ? OK : WRONG_SIZE;
    return batch->status[row] == OK;
}

void engine_decode_raw(const struct batch *batch, const int64_t *rows, int64_t count, struct workspace *workspace) {
    for (int64_t i = 0; i < count; i++) {
        int64_t row = rows[i], resolution = batch->resolution;
        if (!has_bytes(batch, row, batch->heights[row] * batch->widths[row] * 3)) continue;
        int flip = batch->boxes[row * BOX_COLUMNS + FLIP];
        struct span vertical = span_of(batch, row, TOP), horizontal = span_of(batch, row, LEFT);
        uint8_t *scratch = workspace_take(workspace, resize_scratch(resolution, vertical, horizontal));
        batch->status[row] = scratch ? OK : OUT_OF_MEMORY;
        if (!scratch) continue;
        struct plane plane = {batch->memory + batch->offsets[row], batch->widths[row] * 3, 3};
        resize_rgb(plane, vertical, horizontal, flip, resolution, batch->out + row * resolution * resolution * 3,
                   scratch);
    }
}

void engine_decode_yuv420(const struct batch *batch, const int64_t *rows, int64_t count, struct workspace *workspace) {
    for (int64_t i = 0; i < count; i++) {
        int64_t row = rows[i], resolution = batch->resolution;
        int64_t height = batch->heights[row], width = batch->widths[row];
        /* Sides are even: of odd ones no size is right. */
        if (!has_bytes(batch, row, (height | width) % 2 ? -1 : height * width / 2 * 3)) continue;
        int flip = batch->boxes[row * BOX_COLUMNS + FLIP];
        struct span vertical = span_of(batch, row, TOP), horizontal = span_of(batch, row, LEFT);
        uint8_t *scratch = workspace_take(workspace, resize_scratch(resolution, vertical, horizontal));
        batch->status[row] = scratch ? OK : OUT_OF_MEMORY;
        if (!scratch) continue;
        const uint8_t *pixels = batch->memory + batch->offsets[row];
        struct plane planes[3] = {{pixels, width, 1},
                                  {pixels + height * width, width / 2, 1},
                                  {pixels + height * width + height / 2 * (width / 2), width / 2, 1}};
        resize_yuv420(planes, vertical, horizontal, flip, resolution,
                      batch->out + row * resolution * resolution * 3, scratch);
    }
}
