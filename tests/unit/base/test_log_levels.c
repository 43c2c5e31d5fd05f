#include "test.h"

#include "base/log_levels.h"

static struct sc_log_levels l;

static int read_text(const char *text)
{
    sc_log_levels_init(&l, SC_LOG_INFO);
    return sc_log_levels_read(&l, sc_span_str(text));
}

static void torchserves_own_file_is_understood(void **state)
{
    (void)state;
    assert_int_equal(read_text("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Configuration>\n<Appenders>\n"
                               "<Console name=\"STDOUT\" target=\"SYSTEM_OUT\"/>\n</Appenders>\n<Loggers>\n"
                               "\t<Logger name=\"ACCESS_LOG\" level=\"info\">\n\t\t<AppenderRef ref=\"x\"/>\n"
                               "\t</Logger>\n\t<Logger name=\"io.netty\" level=\"error\" />\n"
                               "\t<Logger name=\"MODEL_LOG\" level=\"all\"></Logger>\n"
                               "\t<Logger name=\"org.apache\" level=\"off\" />\n"
                               "\t<Logger name=\"org.pytorch.serve\" level=\"debug\"/>\n"
                               "\t<Logger name=\"TS_METRICS\" level=\"all\"/>\n"
                               "\t<Root level=\"info\"><AppenderRef ref=\"STDOUT\"/></Root>\n"
                               "</Loggers></Configuration>"),
                     0);
    assert_int_equal(l.of[SC_LOGGER_SERVER], SC_LOG_DEBUG);
    assert_int_equal(l.of[SC_LOGGER_WORKER], SC_LOG_DEBUG);
    assert_int_equal(l.of[SC_LOGGER_ACCESS], SC_LOG_INFO);
    assert_int_equal(l.of[SC_LOGGER_MODEL], SC_LOG_DEBUG);
    assert_int_equal(l.of[SC_LOGGER_MODEL_METRICS], SC_LOG_INFO);
}

static void the_nearest_name_decides(void **state)
{
    (void)state;
    assert_int_equal(read_text("<configuration status='WARN'><loggers>"
                               "<AsyncLogger level = 'OFF' name='org.pytorch.serve.wlm'/>"
                               "<logger name='org.pytorch.serve.w' level='error'/>"
                               "<logger name='org' level='warn'/>"
                               "<!-- <root level='off'> -->"
                               "<AsyncRoot level='error'/></loggers></configuration>"),
                     0);
    assert_int_equal(l.of[SC_LOGGER_WORKER], SC_LOG_OFF);
    assert_int_equal(l.of[SC_LOGGER_SERVER], SC_LOG_WARN);
    assert_int_equal(l.of[SC_LOGGER_ACCESS], SC_LOG_ERROR);
}

static void what_is_something_else_changes_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "rootLogger.level=off",
                                      "{\"configuration\": {}}",
                                      "<a",
                                      "<Root level='off'/>",
                                      "<!-- <Configuration>",
                                      "<Logger name=\"x"};
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(read_text(bad[i]), SC_EUNSUPPORTED);
        assert_int_equal(l.of[SC_LOGGER_SERVER], SC_LOG_INFO);
    }
    /* A level that nobody knows is as none. */
    assert_int_equal(read_text("<Configuration><Root level='loud'/><Logger level='off'/>"), 0);
    assert_int_equal(l.of[SC_LOGGER_ACCESS], SC_LOG_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torchserves_own_file_is_understood),
        cmocka_unit_test(the_nearest_name_decides),
        cmocka_unit_test(what_is_something_else_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
