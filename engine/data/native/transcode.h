#ifndef TRANSCODE_H
#define TRANSCODE_H

#include <stdint.h>

/* What became of an image. UNSUITABLE: libjpeg can't make RGB or YCbCr of it, such as CMYK. */
enum { DONE = 0, DAMAGED = 1, UNSUITABLE = 2, TOO_LARGE = 3 };

/* One image to make a record of. Mirrored by _Job in engine/data/storage/jpeg_transcode.py. */
struct job {
    const uint8_t *data; /* a JPEG */
    int64_t size;
    uint8_t *out;
    int64_t capacity;      /* bytes of `out` */
    int64_t length;        /* result: how many of them were written */
    int64_t height, width; /* of the record, in pixels */
    int64_t quality;       /* of a JPEG that is written */
    int64_t across, down;  /* pixels that share a chroma sample there: 2, 2 for 4:2:0 */
    char message[200];     /* result: what libjpeg said, where it is DAMAGED */
};

#endif
