#ifndef AREA_H
#define AREA_H

#include <stdint.h>

/* Samples lying in memory, `channels` of them side by side for each place. */
struct sheet {
    uint8_t *samples;
    int64_t stride; /* bytes from one row to the next */
    int64_t columns, rows;
    int channels;
};

/* Bytes of scratch that suffice to resize from `from` to `to`. */
int64_t area_scratch(const struct sheet *from, const struct sheet *to, double step_x, double step_y);
/* Fill `to` from `from`, where a step is how many source samples an output sample is apart from the next. */
void area_resize(const struct sheet *from, const struct sheet *to, double step_x, double step_y, uint8_t *scratch);

#endif
