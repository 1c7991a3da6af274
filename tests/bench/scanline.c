/* The usual way to make JPEG of YUYV, for comparison: unpacked to one triple a pixel, handed to libjpeg line by line,
 * which takes the chroma apart again and halves it. As camera servers written in C do it.
 *
 * scanline WIDTH HEIGHT QUALITY ROUNDS FRAMES.yuyv OUT.jpg
 * Encodes all frames of the file ROUNDS times; prints microseconds of CPU a frame; leaves the last round's first. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <jpeglib.h>

static double cpu_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void encode(const unsigned char *yuyv, unsigned width, unsigned height, int quality, unsigned char *line,
                   unsigned char **jpeg, unsigned long *len) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr error;
    c.err = jpeg_std_error(&error);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, jpeg, len);
    c.image_width = width;
    c.image_height = height;
    c.input_components = 3;
    c.in_color_space = JCS_YCbCr;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, quality, TRUE);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < height) {
        const unsigned char *from = yuyv + (size_t)c.next_scanline * width * 2;
        unsigned char *to = line;
        for (unsigned x = 0; x < width; x += 2, from += 4) {
            *to++ = from[0]; *to++ = from[1]; *to++ = from[3];
            *to++ = from[2]; *to++ = from[1]; *to++ = from[3];
        }
        JSAMPROW row = line;
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    unsigned width = atoi(argv[1]), height = atoi(argv[2]);
    int quality = atoi(argv[3]), rounds = atoi(argv[4]);
    size_t bytes = (size_t)width * height * 2;
    FILE *file = fopen(argv[5], "rb");
    if (!file) return 2;
    fseek(file, 0, SEEK_END);
    long frames = ftell(file) / (long)bytes;
    rewind(file);
    unsigned char *all = malloc(frames * bytes), *line = malloc(width * 3), *jpeg = malloc(bytes * 2), *first = jpeg;
    if (!all || !line || !jpeg || fread(all, bytes, frames, file) != (size_t)frames) return 2;

    unsigned long len = 0;
    double began = 0;
    for (int round = -1; round < rounds; round++) {
        if (round == 0) began = cpu_us(); /* the first is for the caches */
        for (long frame = 0; frame < frames; frame++) {
            len = bytes * 2;
            encode(all + frame * bytes, width, height, quality, line, &jpeg, &len);
            if (jpeg != first) return 3; /* it would not fit and was allocated anew */
        }
    }
    printf("%.1f\n", (cpu_us() - began) / (rounds * frames));
    FILE *out = fopen(argv[6], "wb");
    if (!out) return 2;
    len = bytes * 2;
    encode(all, width, height, quality, line, &jpeg, &len);
    return fwrite(jpeg, 1, len, out) == len && fclose(out) == 0 ? 0 : 2;
}
