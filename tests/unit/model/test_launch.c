/* The command lines of workers: interpreter, torchrun, the CPU launcher. */
#include "test.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/launch.h"

static char dir[64];
static struct sc_settings set;
static struct sc_model_spec spec;
static struct sc_launch launch;
static struct sc_ctl_start head;
static struct sc_buf b;

static int setup(void **state)
{
    struct sc_msg msg;
    (void)state;
    strcpy(dir, "/tmp/sconce-launch-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(sc_settings_read(&set, SC_SPAN("python=/nowhere/bin/python\n"), "", &msg), 0);
    sc_spec_init(&spec);
    strcpy(spec.name, "m");
    strcpy(spec.backend, "python");
    strcpy(spec.runtime, "python");
    free(spec.dir);
    spec.dir = strdup("/models/m");
    launch = (struct sc_launch){.settings = &set, .spec = &spec, .id = 29500};
    return 0;
}

static int teardown(void **state)
{
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/torchrun", dir);
    unlink(path);
    rmdir(dir);
    sc_spec_free(&spec);
    sc_settings_free(&set);
    sc_buf_free(&b);
    return 0;
}

/* The strings of a launch, with a blank behind each: arguments, then environment. */
static const char *strings(bool environment)
{
    static char text[4096];
    struct sc_buf args, env;
    sc_buf_init(&args, 4096);
    sc_buf_init(&env, 4096);
    head = (struct sc_ctl_start){0};
    sc_launch_arguments(&launch, "/home", &head, &args);
    sc_launch_environment(&launch, &head, &env);
    sc_buf_free(&b);
    b = environment ? env : args;
    sc_buf_free(environment ? &args : &env);
    uint32_t n = 0;
    for (size_t i = 0; i < b.n; i++) {
        n += b.p[i] == '\0';
        text[i] = b.p[i] ? b.p[i] : ' ';
    }
    text[b.n] = '\0';
    assert_int_equal(n, environment ? head.envc : head.argc);
    return text;
}

static void ranks(const char *type, int level)
{
    snprintf(spec.parallel_type, sizeof spec.parallel_type, "%s", type);
    spec.parallel_level = level;
}

#define SCRIPT "/home/ts/model_service_worker.py "
#define RUN "/nowhere/bin/python /nowhere/bin/python "

static void an_interpreter_and_the_script(void **state)
{
    (void)state;
    assert_string_equal(strings(false), RUN SCRIPT);
    assert_int_equal(head.flags | head.ranks, 0);
    assert_string_equal(strings(true), "");
    spec.use_venv = true;
    assert_string_equal(strings(false), "/models/m/venv/bin/python /models/m/venv/bin/python " SCRIPT);
    /* TorchServe makes an environment for the runtime `python` alone. */
    strcpy(spec.runtime, "python3");
    assert_string_equal(strings(false), "python3 python3 " SCRIPT);
}

static void who_has_ranks(void **state)
{
    static const struct {
        const char *type;
        int level;
        unsigned want_level, want_ranks;
    } cases[] = {
        {"", 0, 0, 0},   {"", 4, 0, 0},     {"tp", 0, 0, 0},     {"tp", 4, 4, 4},
        {"pp", 1, 1, 1}, {"pptp", 2, 2, 2}, {"custom", 2, 2, 0}, {"tp", 1 << 20, SC_RANKS_MAX, SC_RANKS_MAX}};
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        ranks(cases[i].type, cases[i].level);
        assert_int_equal(sc_launch_level(&spec), cases[i].want_level);
        assert_int_equal(sc_launch_ranks(&spec), cases[i].want_ranks);
    }
    strcpy(spec.backend, "encoder");
    ranks("tp", 4);
    assert_int_equal(sc_launch_ranks(&spec), 0);
}

static void torchrun_with_its_defaults(void **state)
{
    (void)state;
    ranks("tp", 4);
    assert_string_equal(strings(false),
                        RUN "-m torch.distributed.run --nnodes 1 --nproc-per-node 4 "
                            "--rdzv-backend c10d --rdzv-endpoint localhost:0 --rdzv-id m_29500 "
                            "--max-restarts 1 " SCRIPT);
    assert_int_equal(head.ranks, 4);
    assert_int_equal(head.flags, SC_START_LAUNCHER);
    assert_string_equal(strings(true), "LOGLEVEL=INFO OMP_NUM_THREADS=1 SCONCE_PARALLEL=tp SCONCE_RANKS=4 ");
}

static void torchrun_as_the_model_wants_it(void **state)
{
    char logs[PATH_MAX], want[2 * PATH_MAX];
    (void)state;
    ranks("pptp", 2);
    spec.torchrun.given = true;
    spec.torchrun.nnodes = 2;
    spec.torchrun.omp_threads = 3;
    spec.torchrun.rdzv_backend = strdup("etcd");
    free(set.log_dir);
    set.log_dir = strdup(dir);
    assert_non_null(realpath(dir, logs));
    /* An endpoint of our own choice is for one node and the store that torch brings. */
    snprintf(want, sizeof want,
             RUN "-m torch.distributed.run --nnodes 2 --nproc-per-node 2 --log-dir %s/torchelastic_ts "
                 "--rdzv-backend etcd --rdzv-id m_29500 --max-restarts 1 " SCRIPT,
             logs);
    assert_string_equal(strings(false), want);
    assert_string_equal(strings(true),
                        "LOGLEVEL=INFO OMP_NUM_THREADS=3 SCONCE_PARALLEL=pptp SCONCE_RANKS=2 ");
    spec.torchrun.rdzv_endpoint = strdup("host:29400");
    assert_non_null(strstr(strings(false), "--rdzv-backend etcd --rdzv-endpoint host:29400 --rdzv-id"));
}

static void torchrun_beside_the_interpreter(void **state)
{
    char path[128], want[512];
    (void)state;
    ranks("pp", 2);
    snprintf(path, sizeof path, "%s/torchrun", dir);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fclose(f);
    free(set.python);
    set.python = malloc(PATH_MAX);
    snprintf(set.python, PATH_MAX, "%s/python", dir);
    /* A file that cannot be run is none. */
    assert_int_equal(chmod(path, 0600), 0);
    assert_non_null(strstr(strings(false), "/python -m torch.distributed.run --nnodes"));
    assert_int_equal(chmod(path, 0700), 0);
    snprintf(want, sizeof want, "%s %s --nnodes 1 --nproc-per-node 2 ", path, path);
    assert_memory_equal(strings(false), want, strlen(want));
}

static void the_cpu_launcher(void **state)
{
    (void)state;
    set.cpu_launcher_enable = true;
    assert_string_equal(strings(false), RUN "-m torch.backends.xeon.run_cpu " SCRIPT);
    assert_int_equal(head.flags, SC_START_LAUNCHER);
    assert_int_equal(head.ranks, 0);
    assert_string_equal(strings(true), "SCONCE_RANKS=1 ");
    free(set.cpu_launcher_args);
    set.cpu_launcher_args = strdup("  --ncores-per-instance   2 --use-logical-core ");
    launch.instances = 3;
    launch.instance = 1;
    assert_string_equal(strings(false), RUN "-m torch.backends.xeon.run_cpu --ncores-per-instance 2 "
                                            "--use-logical-core --ninstances 3 --rank 1 " SCRIPT);
}

static void the_cores_are_divided_among_workers(void **state)
{
    static struct sc_engine engine;
    static struct sc_version v;
    struct sc_worker w[3];
    unsigned next;
    (void)state;
    memset(w, 0, sizeof w);
    engine.spec.settings = &set;
    v.engine = &engine;
    sc_spec_copy(&v.spec, &spec);
    sc_list_init(&v.workers);
    v.spec.min_workers = 3;
    assert_int_equal(sc_launch_instances(&v, &next), 0); /* without the launcher */
    set.cpu_launcher_enable = true;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(sc_launch_instances(&v, &next), 3);
        assert_int_equal(next, i);
        w[i].instance = next;
        w[i].instances = 3;
        sc_list_push_back(&v.workers, &w[i].node);
    }
    w[1].stopping = true; /* its part is the next one's */
    assert_int_equal(sc_launch_instances(&v, &next), 3);
    assert_int_equal(next, 1);
    w[0].instances = 2; /* of another division */
    assert_int_equal(sc_launch_instances(&v, &next), 3);
    assert_int_equal(next, 0);
    v.spec.min_workers = 1;
    assert_int_equal(sc_launch_instances(&v, &next), 0);
    sc_spec_free(&v.spec);
}

int main(void)
{
#define LAUNCH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        LAUNCH(an_interpreter_and_the_script),       LAUNCH(who_has_ranks),
        LAUNCH(torchrun_with_its_defaults),          LAUNCH(torchrun_as_the_model_wants_it),
        LAUNCH(torchrun_beside_the_interpreter),     LAUNCH(the_cpu_launcher),
        LAUNCH(the_cores_are_divided_among_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
