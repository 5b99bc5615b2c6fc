/* Vectors of eight, and the three operations on them that compilers don't find by themselves. */
#ifndef LANES_H
#define LANES_H

#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Eight floats, an AVX2 register. Sixteen in an AVX-512 one were measured to be no faster. */
#define LANES 8
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t whole_lanes __attribute__((vector_size(4 * LANES)));
typedef float quad __attribute__((vector_size(16)));
typedef uint8_t sixteen __attribute__((vector_size(16)));
typedef uint64_t pair __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#define SHUFFLE __builtin_shufflevector
#define SHUFFLE_BYTES __builtin_shufflevector
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (int32_t __attribute__((vector_size(16)))){__VA_ARGS__})
#define SHUFFLE_BYTES(a, b, ...) __builtin_shuffle(a, b, (sixteen){__VA_ARGS__})
#endif
#define INTERLEAVE_LOW(a, b) SHUFFLE_BYTES(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define INTERLEAVE_HIGH(a, b) SHUFFLE_BYTES(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)

INLINE lanes load_bytes(const uint8_t *from) {
#ifdef __AVX2__
    return (lanes)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from)));
#else
    lanes values;
    for (int lane = 0; lane < LANES; lane++) values[lane] = from[lane];
    return values;
#endif
}

/* Rounded half up, limited to 0..255. */
INLINE void store_levels(lanes values, uint8_t *to) {
    whole_lanes levels = __builtin_convertvector(values + 0.5f, whole_lanes);
#ifdef __SSE2__
    __m128i halves[2];
    memcpy(halves, &levels, sizeof levels);
    __m128i shorts = _mm_packs_epi32(halves[0], halves[1]);
    _mm_storel_epi64((__m128i *)to, _mm_packus_epi16(shorts, shorts));
#else
    for (int lane = 0; lane < LANES; lane++)
        to[lane] = (uint8_t)(levels[lane] < 0 ? 0 : levels[lane] > 255 ? 255 : levels[lane]);
#endif
}

/* To memory past the caches: a batch is larger than they are, and lines need not be fetched to be overwritten whole.
   `to` is a multiple of 16; other threads see it after `end_streaming`. */
INLINE void stream(sixteen bytes, uint8_t *to) {
#ifdef __SSE2__
    _mm_stream_si128((__m128i *)to, (__m128i)bytes);
#else
    memcpy(to, &bytes, sizeof bytes);
#endif
}

INLINE void end_streaming(void) {
#ifdef __SSE2__
    _mm_sfence();
#endif
}

/* Sixteen columns of LANES rows -> LANES rows of sixteen bytes. */
INLINE void turn_bytes(const uint8_t *columns, sixteen *rows) {
    sixteen a[LANES], b[LANES];
    for (int k = 0; k < 8; k++) {
        uint64_t left, right;
        memcpy(&left, columns + k * LANES, 8);
        memcpy(&right, columns + (k + 8) * LANES, 8);
        a[k] = INTERLEAVE_LOW((sixteen)(pair){left}, (sixteen)(pair){right});
    }
#define STAGE(in, to)                                                                                            \
    for (int k = 0; k < 4; k++) {                                                                                \
        to[2 * k] = INTERLEAVE_LOW(in[k], in[k + 4]);                                                            \
        to[2 * k + 1] = INTERLEAVE_HIGH(in[k], in[k + 4]);                                                       \
    }
    STAGE(a, b)
    STAGE(b, a)
    STAGE(a, rows)
#undef STAGE
}

/* (LANES, count) floats, `stride` from one to the next -> (count, LANES); count is a multiple of 4. */
INLINE void turn(const float *lines, int64_t stride, int64_t count, float *turned) {
    for (int64_t x = 0; x < count; x += 4)
        for (int row = 0; row < LANES; row += 4) {
            quad line[4];
            for (int k = 0; k < 4; k++) memcpy(&line[k], lines + (row + k) * stride + x, sizeof line[k]);
            quad ab_low = SHUFFLE(line[0], line[1], 0, 4, 1, 5), ab_high = SHUFFLE(line[0], line[1], 2, 6, 3, 7);
            quad cd_low = SHUFFLE(line[2], line[3], 0, 4, 1, 5), cd_high = SHUFFLE(line[2], line[3], 2, 6, 3, 7);
            quad columns[4] = {SHUFFLE(ab_low, cd_low, 0, 1, 4, 5), SHUFFLE(ab_low, cd_low, 2, 3, 6, 7),
                               SHUFFLE(ab_high, cd_high, 0, 1, 4, 5), SHUFFLE(ab_high, cd_high, 2, 3, 6, 7)};
            for (int k = 0; k < 4; k++) memcpy(turned + (x + k) * LANES + row, &columns[k], sizeof columns[k]);
        }
}

#endif
