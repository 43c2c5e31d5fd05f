#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct lab_bench *const benches[] = {&lab_rows, &lab_elements, &lab_attention, &lab_heads,
                                                  &lab_skinny};
enum { BENCHES = sizeof(benches) / sizeof(benches[0]) };

static int usage(void)
{
    fprintf(stderr, "usage: lab check|time [--generic] [--type f16|bf16|f32] [NAME...]\nnames:");
    for (int i = 0; i < BENCHES; i++)
        fprintf(stderr, " %s", benches[i]->name);
    fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv)
{
    bool generic = false, wanted[BENCHES] = {0}, any = false;
    int only = -1;
    if (argc < 2 || (strcmp(argv[1], "check") != 0 && strcmp(argv[1], "time") != 0))
        return usage();
    bool timing = strcmp(argv[1], "time") == 0;
    for (int i = 2; i < argc; i++) {
        bool known = strcmp(argv[i], "--generic") == 0;
        generic = generic || known;
        if (strcmp(argv[i], "--type") == 0 && i + 1 < argc) {
            i++;
            for (int t = SC_CU_F16; t <= SC_CU_F32; t++)
                if (strcmp(argv[i], lab_type_name((enum sc_cu_type)t)) == 0)
                    only = t, known = true;
        }
        for (int b = 0; b < BENCHES; b++)
            if (strcmp(argv[i], benches[b]->name) == 0)
                wanted[b] = any = known = true;
        if (!known)
            return usage();
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    lab_open(generic);
    if (timing)
        printf("a copy within the device's memory: %.0f GB/s, read and written\n", lab_copy_ceiling() / 1e9);
    for (int b = 0; b < BENCHES; b++) {
        if (any && !wanted[b])
            continue;
        printf("%s\n", benches[b]->name);
        for (int t = SC_CU_F16; t <= SC_CU_F32; t++) {
            if ((only >= 0 && t != only) || !lab_can((enum sc_cu_type)t))
                continue;
            lab_seed((uint64_t)b + 1);
            (timing ? benches[b]->time : benches[b]->check)((enum sc_cu_type)t);
        }
    }
    if (!timing)
        printf("%u failed\n", lab_failures());
    return lab_failures() != 0;
}
