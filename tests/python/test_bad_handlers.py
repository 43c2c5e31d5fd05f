"""What a handler may do to its own process, and what it then costs. Both data paths."""
import signal
import time

import pytest

from data_path import Worker


@pytest.fixture(params=["extension", "plain"])
def worker(request, tmp_path):
    made = []

    def start(act, **options):
        """A worker whose handler runs `act` for a body "do" and then answers "done"."""
        lines = "".join(f"        {line}\n" for line in act.splitlines())
        source = (f"import os, sys, time, threading, signal\ndef handle(data, context):\n    if data is None:\n        return\n"
                  f"    if data[0]['body'] == b'do':\n{lines}    return ['done'] * len(data)\n")
        made.append(Worker(tmp_path / f"model{len(made)}", source, pure=request.param == "plain", **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


def survives(one):
    for _ in range(3):
        answer = one.call(b"do")
        assert (answer.status, answer.body) == (200, b"done")
    assert one.call(b"x").body == b"done" and one.process.poll() is None


@pytest.mark.parametrize("act", [
    "sys.stdout = sys.stderr = None",
    "sys.stdout.close()",
    "import io; sys.stdout = sys.stderr = io.StringIO()",
    "os.closerange(0, 3)",
    "sys.stdout = open(os.devnull, 'w')",
    "import logging; logging.shutdown(); logging.getLogger().handlers.clear(); logging.disable()",
    "sys.argv[:] = []; sys.path.clear(); os.environ.clear(); os.chdir('/')",
    "for n in [m for m in sys.modules if m.startswith('ts')]: del sys.modules[n]",
    "threading.Thread(target=time.sleep, args=(60,)).start()",
    "threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()",
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
    "signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005); signal.signal(signal.SIGALRM, lambda *a: None)",
    "signal.set_wakeup_fd(-1)",
    "sys.setswitchinterval(1)",
    "import gc; gc.disable(); sys.setrecursionlimit(50)",
    "import random; random.seed(1); print('x' * 1000000)",
    "data[0].clear(); data.append(None); data.pop()",
    "os.nice(5)",
    "import subprocess; subprocess.run(['true'], check=True)",
    "import asyncio; asyncio.run(asyncio.sleep(0))",
])
def test_it_goes_on(worker, act):
    survives(worker(act))


def test_threads_left_behind_do_not_keep_the_process(worker):
    one = worker("threading.Thread(target=time.sleep, args=(60,)).start()")
    survives(one)
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 0


@pytest.mark.parametrize("act, status", [
    ("os._exit(7)", 7), ("sys.exit(5)", 5), ("sys.exit('a reason')", 1), ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    ("import ctypes; ctypes.string_at(0)", -11), ("os.abort()", -6), ("threading.Thread(target=lambda: os._exit(3)).start(); time.sleep(5)", 3)])
def test_a_death_leaves_the_request_on_the_page_and_unanswered(worker, act, status):
    one = worker(act)
    number = one.submit(b"do")
    assert one.wait() == status
    assert one.answer(50) is None
    assert one.running() == [number]


@pytest.mark.parametrize("first", [3, 0])
def test_one_that_closes_every_descriptor_is_answered_before_the_worker_ends(worker, first):
    one = worker(f"os.closerange({first}, 4096)")
    number = one.submit(b"do")
    assert one.wait() == 1
    answer = one.answer(50)
    assert (answer.id, answer.status, answer.body) == (number, 200, b"done")
    assert one.running() == []


def test_descriptors_closed_and_taken_by_files_of_its_own_are_left_alone(worker, tmp_path):
    """The numbers then belong to the handler: nothing of ours is written there."""
    path = tmp_path / "own"
    one = worker(f"os.closerange(3, 4096)\nopened = [os.open({str(path)!r}, os.O_CREAT | os.O_RDWR) for _ in range(900)]")
    one.submit(b"do")
    assert one.wait() == 1
    assert path.read_bytes() == b""


def test_a_double_close_of_low_numbers_hits_nothing_of_ours(worker):
    one = worker("for fd in range(3, 256):\n    try:\n        os.close(fd)\n    except OSError:\n        pass")
    survives(one)


@pytest.mark.parametrize("act", [
    "os.fork()",
    "pid = os.fork()\nif pid == 0:\n    time.sleep(0.2)\nelse:\n    os.waitpid(pid, 0)",
    "import multiprocessing as m; p = m.get_context('fork').Process(target=print, args=('child',)); p.start(); p.join()",
])
def test_a_child_never_answers(worker, act):
    one = worker(act)
    for _ in range(3):
        number = one.submit(b"do")
        answer = one.answer()
        assert answer.id == number and answer.body == b"done"
        assert one.answer(300) is None
    assert one.process.poll() is None and one.call(b"x").body == b"done"


def test_the_supervisor_sees_the_end_of_a_worker_whose_child_lives_on(worker):
    one = worker("if os.fork() == 0:\n    time.sleep(30)\n    os._exit(0)")
    one.call(b"do")
    one.process.kill()
    assert one.status(2000)[0] == "end"


def test_a_handler_of_its_own_for_sigterm_is_its_own_affair(worker):
    one = worker("signal.signal(signal.SIGTERM, lambda *a: sys.exit(9))")
    survives(one)
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 9


def test_a_result_after_the_frontend_has_gone_is_swallowed(worker):
    one = worker("time.sleep(0.4)", batch_size=4)
    one.submit(b"do")
    time.sleep(0.1)
    one.ask("detach")
    time.sleep(0.6)
    assert one.process.poll() is None
    one.ask("attach 1")
    assert one.call(b"x").body == b"done"


@pytest.mark.parametrize("result, status, says", [
    ("None", 503, b"Invalid model predict output"), ("('a',)", 503, b"Invalid model predict output"),
    ("iter(['a'])", 503, b"Invalid model predict output"), ("[]", 503, b"number of batch response mismatched"),
    ("['a', 'b']", 503, b"number of batch response mismatched"), ("[{1, 2}]", 503, b"Unsupported model output data type."),
    ("[object()]", 503, b"Unsupported model output data type.")])
def test_results_that_are_none(worker, result, status, says):
    one = worker(f"return {result}")
    answer = one.call(b"do")
    assert (answer.status, answer.body) == (status, says)
    assert one.call(b"x").body == b"done"


@pytest.mark.parametrize("code, status", [("599", 599), ("0", 500), ("-3", 500), ("10 ** 12", 500), ("'404'", 404), ("None", 500)])
def test_an_error_of_any_code_and_text(worker, code, status):
    one = worker(f"from ts.utils.util import PredictionException\nraise PredictionException('\\udc80 text', {code})")
    answer = one.call(b"do")
    assert (answer.status, answer.body) == (status, b"? text")
    assert one.call(b"x").body == b"done"


CUDA = """
class FakeCuda:
    @staticmethod
    def is_initialized():
        return True
    @staticmethod
    def synchronize():
        {answer}
class FakeTorch:
    cuda = FakeCuda
sys.modules['torch'] = FakeTorch
raise RuntimeError({text!r})
"""


@pytest.mark.parametrize("answer, text, ends", [
    ("raise RuntimeError('CUDA error: an illegal memory access was encountered')", "CUDA error: an illegal memory access was encountered", True),
    ("raise RuntimeError('CUDA out of memory')", "CUDA error: unspecified launch failure", False),
    ("pass", "CUDA error: device-side assert triggered", False),
    ("raise RuntimeError('CUDA error')", "CUDA out of memory. Tried to allocate 2 GiB", False)])
def test_a_dead_cuda_context_ends_the_worker(worker, answer, text, ends):
    one = worker(CUDA.format(answer=answer, text=text))
    number = one.submit(b"do")
    if ends:
        assert one.wait() == 86
    said = one.answer()
    assert (said.id, said.status, said.body) == (number, 507, b"Out of resources")
    assert (one.process.poll() is not None) == ends


def test_the_others_of_a_batch_that_killed_the_context_are_not_answered(worker):
    one = worker("time.sleep(0.3)\nif len(data) == 1:\n    return ['first']\n" + CUDA.format(answer="raise ValueError()", text="CUDA error"),
                 batch_size=4)
    one.submit(b"do")
    time.sleep(0.1)
    suspects = [one.submit(b"do") for _ in range(3)]
    assert one.answer().body == b"first"
    assert one.wait() == 86
    assert one.answer(100) is None and one.running() == suspects
