"""A server as a child process, and what it costs."""

import os
import pathlib
import pty
import signal
import subprocess
import threading
import time

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# The end of a synchronised update.
FRAME_END = b"\x1b[?2026l"


class Server:
    """Runs until the `with` block ends; then it gets SIGTERM and, if that is not enough, SIGKILL.

    `ready` is called until it returns true. With `terminal` (columns, rows) the server has a
    terminal of that size, whose output is read and thrown away but for the number of frames.
    """

    def __init__(self, command, ready, log, env=None, cwd=None, terminal=None, limit_s=60):
        self.command, self.ready, self.log = command, ready, pathlib.Path(log)
        self.env, self.cwd, self.terminal, self.limit_s = env, cwd, terminal, limit_s
        self.frames = 0

    def __enter__(self):
        self.started = time.monotonic()
        log = open(self.log, "wb")
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        if self.terminal:
            streams = {**self._open_terminal(), "stderr": log}
        self.process = subprocess.Popen(
            self.command, env=self.env, cwd=self.cwd, start_new_session=True, **streams
        )
        log.close()
        if self.terminal:
            os.close(streams["stdin"])
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        self.ready_after_s = time.monotonic() - self.started
        return self

    def _wait_until_ready(self):
        while not self.ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.command[0]} ended: {self.log.read_text()[-4000:]}")
            if time.monotonic() - self.started > self.limit_s:
                raise RuntimeError(f"not ready in {self.limit_s} s: {self.log.read_text()[-4000:]}")
            time.sleep(0.002)

    def _open_terminal(self):
        ours, theirs = pty.openpty()
        columns, rows = self.terminal
        subprocess.run(["stty", "cols", str(columns), "rows", str(rows)], stdin=theirs, check=True)
        threading.Thread(target=self._drain, args=(ours,), daemon=True).start()
        return {"stdin": theirs, "stdout": theirs}

    def _drain(self, terminal):
        try:
            while data := os.read(terminal, 65536):
                self.frames += data.count(FRAME_END)
        except OSError:
            pass  # the other side is closed
        os.close(terminal)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            pass
        try:
            # Whatever it left behind in its session.
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def cpu_s(self) -> float:
        """User and system time so far, of the server and every process it started."""
        ticks = 0
        for pid in self._tree():
            try:
                # After the name, which may have spaces: field 3 of proc(5)'s stat is first.
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except FileNotFoundError:
                continue
            ticks += sum(int(value) for value in fields[11:15])
        return ticks / TICKS_PER_S

    def threads_cpu_s(self) -> dict:
        """Time on a processor so far by the thread's name, of the server process; threads of one
        name are added up. In nanoseconds by the scheduler's own account."""
        seconds = {}
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                on_cpu_ns = int((task / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            name = "instances" if "#" in name else name
            seconds[name] = seconds.get(name, 0.0) + on_cpu_ns / 1e9
        return seconds

    def _tree(self):
        pids = [self.process.pid]
        for pid in pids:
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    pids += [int(child) for child in task.read_text().split()]
                except (FileNotFoundError, ProcessLookupError):
                    pass
        return pids

    def memory_bytes(self) -> dict:
        """`resident` and `peak`, of the server process."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        kib = {
            key: int(lines[name].split()[0])
            for key, name in [("resident", "VmRSS"), ("peak", "VmHWM")]
        }
        return {key: 1024 * value for key, value in kib.items()}
