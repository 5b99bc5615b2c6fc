/* resize.c is built twice, for any machine and for those with AVX2; the first is used unless the second can be. */
#include "engine.h"

#define DECLARE(suffix)                                                                                           \
    void resize_rgb_##suffix(struct plane, struct span, struct span, int, int64_t, uint8_t *, uint8_t *);         \
    void resize_yuv420_##suffix(const struct plane[3], struct span, struct span, int, int64_t, uint8_t *, uint8_t *);
DECLARE(baseline)
DECLARE(avx2)

void (*resize_rgb)(struct plane, struct span, struct span, int, int64_t, uint8_t *, uint8_t *) = resize_rgb_baseline;
void (*resize_yuv420)(const struct plane[3], struct span, struct span, int, int64_t, uint8_t *,
                      uint8_t *) = resize_yuv420_baseline;

/* Whether the AVX2 build is in use from now on, as it is from the start where the machine has AVX2. */
int engine_use_avx2(int wanted) {
    resize_rgb = resize_rgb_baseline, resize_yuv420 = resize_yuv420_baseline;
#ifdef __x86_64__
    if (wanted && __builtin_cpu_supports("avx2")) {
        resize_rgb = resize_rgb_avx2, resize_yuv420 = resize_yuv420_avx2;
        return 1;
    }
#endif
    return 0;
}

int engine_uses_avx2(void) { return resize_rgb != resize_rgb_baseline; }

__attribute__((constructor)) static void use_the_best(void) {
#ifdef __x86_64__
    __builtin_cpu_init();
#endif
    engine_use_avx2(1);
}
