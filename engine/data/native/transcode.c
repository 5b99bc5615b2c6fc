/* From a JPEG to a record, when a data set is written. Every function takes a job, returns DONE or why not, and never
   leaves memory behind. The planes of a JPEG are resized as they are and become the planes of the record, so that
   neither a way through RGB nor one through full-size chroma costs anything. */
#include <string.h>

#include "area.h"
#include "entropy.h"
#include "failure.h"
#include "transcode.h"

/* Real progressive files have about ten; a small file with thousands would take minutes. */
#define MOST_SCANS 100
#define MOST_MEMORY (2L << 30)
#define MOST_PLANES 3

/* The failure is the first, so that libjpeg's pointer to it is one to the whole. */
struct session {
    struct failure failure;
    struct jpeg_decompress_struct from;
    struct jpeg_compress_struct to;
    struct jpeg_progress_mgr progress;
    struct jpeg_destination_mgr sink; /* the job's `out`, and no further */
    int full;                         /* whether it was */
    struct job *job;
};

/* A component of the image, perhaps decoded at a smaller scale. */
struct channel {
    struct sheet sheet;
    double per_pixel_x, per_pixel_y; /* samples in a pixel of the unscaled image */
};

static void count_scans(j_common_ptr common) {
    struct session *session = (struct session *)common->err;
    if (session->from.input_scan_number <= MOST_SCANS) return;
    strcpy(session->failure.message, "More than 100 scans");
    longjmp(session->failure.back, 1);
}

static uint8_t *take(struct session *session, int64_t bytes) {
    j_common_ptr owner = (j_common_ptr)&session->from;
    return session->from.mem->alloc_large(owner, JPOOL_IMAGE, (size_t)(bytes + 64));
}

/* Whether libjpeg can go on to decode it into what training decodes it into. */
static int is_usual(j_decompress_ptr from) {
    if (from->jpeg_color_space != JCS_GRAYSCALE && from->jpeg_color_space != JCS_YCbCr &&
        from->jpeg_color_space != JCS_RGB)
        return 0;
    for (int i = 0; i < from->num_components; i++) {
        const jpeg_component_info *component = &from->comp_info[i];
        if (from->max_h_samp_factor % component->h_samp_factor) return 0;
        if (from->max_v_samp_factor % component->v_samp_factor) return 0;
    }
    return 1;
}

static int run(struct job *job, int (*work)(struct session *)) {
    struct session session = {.job = job}; /* all else is zero: what was not created can be destroyed */
    session.from.err = session.to.err = failure_manager(&session.failure);
    int status;
    if (setjmp(session.failure.back)) {
        status = session.full ? TOO_LARGE : DAMAGED;
        memcpy(job->message, session.failure.message, sizeof job->message - 1);
    } else {
        jpeg_create_decompress(&session.from);
        session.progress.progress_monitor = count_scans;
        session.from.progress = &session.progress;
        session.from.mem->max_memory_to_use = MOST_MEMORY;
        jpeg_mem_src(&session.from, job->data, (unsigned long)job->size);
        jpeg_read_header(&session.from, TRUE);
        status = work(&session);
    }
    jpeg_destroy_decompress(&session.from);
    jpeg_destroy_compress(&session.to);
    return status;
}

/* --- as it is, or without loss */

static int find_end(struct session *session) {
    struct job *job = session->job;
    if (session->from.image_height != job->height || session->from.image_width != job->width) return UNSUITABLE;
    if (!is_usual(&session->from)) return UNSUITABLE;
    const uint8_t *end = sound_scan(&session->from);
    if (!end) return UNSUITABLE;
    job->length = end - job->data;
    return DONE;
}

/* Of a sound baseline JPEG of height x width, `length` becomes its bytes up to the end of the image. UNSUITABLE where
   it is another, or damaged, or too unusual to tell without decoding it. */
int engine_jpeg_find_end(struct job *job) { return run(job, find_end); }

static int check(struct session *session) {
    jpeg_read_coefficients(&session->from);
    return DONE;
}

/* Whether all of the image can be decoded: DONE or DAMAGED. */
int engine_jpeg_check(struct job *job) { return run(job, check); }

static void start_sink(j_compress_ptr to) { (void)to; }

static boolean refuse_more(j_compress_ptr to) {
    struct session *session = (struct session *)to->err;
    session->full = 1;
    longjmp(session->failure.back, 1);
}

static void end_sink(j_compress_ptr to) {
    struct job *job = ((struct session *)to->err)->job;
    job->length = job->capacity - (int64_t)to->dest->free_in_buffer;
}

static j_compress_ptr open_sink(struct session *session) {
    jpeg_create_compress(&session->to);
    session->sink = (struct jpeg_destination_mgr){.next_output_byte = session->job->out,
                                                  .free_in_buffer = (size_t)session->job->capacity,
                                                  .init_destination = start_sink,
                                                  .empty_output_buffer = refuse_more,
                                                  .term_destination = end_sink};
    session->to.dest = &session->sink;
    return &session->to;
}

/* Whether each coefficient came with all its bits. Where a progressive file ends early, decoders smooth over what is
   missing, each in its own way, and would not for the same coefficients in a baseline file. */
static int is_complete(j_decompress_ptr from) {
    for (int i = 0; from->progressive_mode && i < from->num_components; i++)
        for (int place = 0; place < DCTSIZE2; place++)
            if (from->coef_bits[i][place] != 0) return 0;
    return 1;
}

static int rewrite(struct session *session) {
    if (!is_usual(&session->from)) return UNSUITABLE;
    jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&session->from);
    if (!is_complete(&session->from)) return UNSUITABLE;
    j_compress_ptr to = open_sink(session);
    jpeg_copy_critical_parameters(&session->from, to);
    to->optimize_coding = TRUE;
    jpeg_write_coefficients(to, coefficients);
    jpeg_finish_compress(to);
    return DONE;
}

/* The same coefficients as a baseline JPEG of one scan, which decodes several times as fast as a progressive one. */
int engine_jpeg_rewrite(struct job *job) { return run(job, rewrite); }

/* --- in another size */

/* The smallest eighths, of those that libjpeg-turbo has SIMD for, at which the image is no smaller than the record. */
static unsigned dct_eighths(const struct session *session) {
    const struct job *job = session->job;
    for (unsigned eighths = 1; eighths < 8; eighths *= 2)
        if (session->from.image_height * (int64_t)eighths >= job->height * 8 &&
            session->from.image_width * (int64_t)eighths >= job->width * 8)
            return eighths;
    return 8;
}

static void start_scaled(struct session *session, J_COLOR_SPACE space) {
    j_decompress_ptr from = &session->from;
    from->scale_num = dct_eighths(session);
    from->scale_denom = 8;
    from->out_color_space = space;
    from->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(from);
}

#if JPEG_LIB_VERSION >= 70
#define ACROSS(component) (component)->DCT_h_scaled_size
#define DOWN(component) (component)->DCT_v_scaled_size
#else
#define ACROSS(component) (component)->DCT_scaled_size
#define DOWN(component) (component)->DCT_scaled_size
#endif

static int64_t whole(int64_t size, int64_t unit) { return (size + unit - 1) / unit * unit; }

static struct channel new_plane(struct session *session, const jpeg_component_info *component) {
    j_decompress_ptr from = &session->from;
    struct channel plane = {.per_pixel_x = component->h_samp_factor * ACROSS(component) / 8.0 / from->max_h_samp_factor,
                          .per_pixel_y = component->v_samp_factor * DOWN(component) / 8.0 / from->max_v_samp_factor};
    int64_t stride = (int64_t)component->width_in_blocks * ACROSS(component);
    int64_t lines = whole(component->height_in_blocks, component->v_samp_factor) * DOWN(component);
    plane.sheet = (struct sheet){take(session, stride * lines), stride, component->downsampled_width,
                                 component->downsampled_height, 1};
    return plane;
}

/* All components as they are stored, without upsampling; what libjpeg writes is whole rows of blocks. */
static void read_planes(struct session *session, struct channel *planes) {
    j_decompress_ptr from = &session->from;
    JSAMPROW rows[MOST_PLANES][MAX_SAMP_FACTOR * DCTSIZE];
    JSAMPARRAY arrays[MOST_PLANES];
    from->raw_data_out = TRUE;
    start_scaled(session, from->jpeg_color_space);
    int count = from->num_components;
    for (int i = 0; i < count; i++) {
        planes[i] = new_plane(session, &from->comp_info[i]);
        arrays[i] = rows[i];
    }
    for (int64_t turn = 0; from->output_scanline < from->output_height; turn++) {
        JDIMENSION lines = 0;
        for (int i = 0; i < count; i++) {
            const jpeg_component_info *component = &from->comp_info[i];
            int64_t own = (int64_t)component->v_samp_factor * DOWN(component);
            for (int64_t line = 0; line < own; line++)
                rows[i][line] = planes[i].sheet.samples + (turn * own + line) * planes[i].sheet.stride;
            int64_t all = own * from->max_v_samp_factor / component->v_samp_factor;
            if (i == 0 || all < lines) lines = (JDIMENSION)all;
        }
        jpeg_read_raw_data(from, arrays, lines);
    }
}

/* Resize one component to the record's size, of which one sample of `to` covers `across` x `down` pixels. */
static void fit(struct session *session, const struct channel *from, const struct sheet *to, double across, double down) {
    const struct job *job = session->job;
    /* An image within its limits may still lack a row or column to be even, which is then its last one again. */
    double x = session->from.image_width > job->width ? (double)session->from.image_width / (double)job->width : 1.0;
    double y = session->from.image_height > job->height ? (double)session->from.image_height / (double)job->height : 1.0;
    x *= across * from->per_pixel_x, y *= down * from->per_pixel_y;
    area_resize(&from->sheet, to, x, y, take(session, area_scratch(&from->sheet, to, x, y)));
}

static int has_planes(j_decompress_ptr from) {
    return is_usual(from) && from->jpeg_color_space != JCS_RGB && from->num_components <= MOST_PLANES;
}

static int to_yuv420(struct session *session) {
    struct job *job = session->job;
    struct channel planes[MOST_PLANES];
    if (!has_planes(&session->from)) return UNSUITABLE;
    job->length = job->height * job->width * 3 / 2;
    if (job->length > job->capacity) return TOO_LARGE;
    read_planes(session, planes);
    uint8_t *out = job->out;
    for (int i = 0; i < MOST_PLANES; i++) {
        int part = i ? 2 : 1;
        struct sheet to = {out, job->width / part, job->width / part, job->height / part, 1};
        if (i < session->from.num_components)
            fit(session, &planes[i], &to, part, part);
        else
            memset(out, CENTERJSAMPLE, (size_t)(to.columns * to.rows));
        out += to.columns * to.rows;
    }
    return DONE;
}

/* Y, Cb and Cr, the latter two of half size; height and width are even. */
int engine_jpeg_to_yuv420(struct job *job) { return run(job, to_yuv420); }

static int to_rgb(struct session *session) {
    struct job *job = session->job;
    j_decompress_ptr from = &session->from;
    if (!is_usual(from)) return UNSUITABLE;
    job->length = job->height * job->width * 3;
    if (job->length > job->capacity) return TOO_LARGE;
    start_scaled(session, JCS_RGB);
    struct sheet to = {job->out, job->width * 3, job->width, job->height, 3};
    int same = from->output_height == job->height && from->output_width == job->width;
    struct sheet decoded = {to.samples, (int64_t)from->output_width * 3, from->output_width, from->output_height, 3};
    if (!same) decoded.samples = take(session, decoded.stride * decoded.rows);
    while (from->output_scanline < from->output_height) {
        JSAMPROW row = decoded.samples + from->output_scanline * decoded.stride;
        jpeg_read_scanlines(from, &row, 1);
    }
    struct channel plane = {decoded, from->scale_num / 8.0, from->scale_num / 8.0};
    if (!same) fit(session, &plane, &to, 1, 1);
    return DONE;
}

/* Interleaved RGB. At full size its pixels are those of Pillow. */
int engine_jpeg_to_rgb(struct job *job) { return run(job, to_rgb); }

static void write_planes(j_compress_ptr to, const struct sheet *sheets) {
    JSAMPROW rows[MOST_PLANES][2 * DCTSIZE];
    JSAMPARRAY arrays[MOST_PLANES] = {rows[0], rows[1], rows[2]};
    for (int64_t turn = 0; to->next_scanline < to->image_height; turn++) {
        for (int i = 0; i < to->num_components; i++) {
            int own = to->comp_info[i].v_samp_factor * DCTSIZE;
            for (int line = 0; line < own; line++) {
                int64_t row = turn * own + line, last = sheets[i].rows - 1;
                rows[i][line] = sheets[i].samples + (row < last ? row : last) * sheets[i].stride;
            }
        }
        jpeg_write_raw_data(to, arrays, (JDIMENSION)(to->max_v_samp_factor * DCTSIZE));
    }
}

static void start_jpeg(struct session *session) {
    const struct job *job = session->job;
    j_compress_ptr to = open_sink(session);
    to->image_width = (JDIMENSION)job->width;
    to->image_height = (JDIMENSION)job->height;
    to->input_components = session->from.num_components;
    to->in_color_space = session->from.jpeg_color_space;
    jpeg_set_defaults(to);
    jpeg_set_quality(to, (int)job->quality, TRUE);
    to->comp_info[0].h_samp_factor = to->num_components == 1 ? 1 : (int)job->across;
    to->comp_info[0].v_samp_factor = to->num_components == 1 ? 1 : (int)job->down;
    to->raw_data_in = TRUE;
    jpeg_start_compress(to, TRUE);
}

static int to_jpeg(struct session *session) {
    const struct job *job = session->job;
    struct channel planes[MOST_PLANES];
    struct sheet sheets[MOST_PLANES];
    if (!has_planes(&session->from)) return UNSUITABLE;
    read_planes(session, planes);
    start_jpeg(session);
    for (int i = 0; i < session->to.num_components; i++) {
        const jpeg_component_info *component = &session->to.comp_info[i];
        int64_t stride = (int64_t)component->width_in_blocks * DCTSIZE, lines = component->downsampled_height;
        sheets[i] = (struct sheet){take(session, stride * lines), stride, stride, lines, 1};
        fit(session, &planes[i], &sheets[i], i ? (double)job->across : 1.0, i ? (double)job->down : 1.0);
    }
    write_planes(&session->to, sheets);
    jpeg_finish_compress(&session->to);
    return DONE;
}

/* A JPEG of this quality and chroma subsampling; one component stays one component. */
int engine_jpeg_to_jpeg(struct job *job) { return run(job, to_jpeg); }

/* Such as 2001005 for 2.1.5. */
int64_t engine_jpeg_version(void) { return LIBJPEG_TURBO_VERSION_NUMBER; }
