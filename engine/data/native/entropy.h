#ifndef ENTROPY_H
#define ENTROPY_H

#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

/* Behind the end-of-image marker of a JPEG whose header was read, where it has a single baseline scan that libjpeg
   would decode to its end without a warning; null: it has not, or only libjpeg itself can tell. */
const uint8_t *sound_scan(j_decompress_ptr);

#endif
