"""%time, %timeit and %prun: how long Python takes."""


def duration(seconds, digits=3):
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "\xb5s"), (1e9, "ns")):
        if seconds * factor >= 0.9995 or unit == "ns":
            break
    if seconds >= 60:
        return "%dmin %ds" % divmod(round(seconds), 60)
    return "%.*g %s" % (digits, seconds * factor, unit)


class TimeitResult:
    """What %timeit -o gives."""

    def __init__(self, loops, repeat, all_runs, compile_time=0.0, precision=3):
        self.loops, self.repeat, self.all_runs = loops, repeat, all_runs
        self.compile_time, self._precision = compile_time, precision
        self.timings = [run / loops for run in all_runs]
        self.best, self.worst = min(all_runs) / loops, max(all_runs) / loops

    @property
    def average(self):
        return sum(self.timings) / len(self.timings)

    @property
    def stdev(self):
        mean = self.average
        return (sum((timing - mean) ** 2 for timing in self.timings) / len(self.timings)) ** 0.5

    def __str__(self):
        def count(number, word):
            return "%s %s%s" % (format(number, ","), word, "" if number == 1 else "s")
        return "%s \xb1 %s per loop (mean \xb1 std. dev. of %s, %s each)" % (
            duration(self.average, self._precision), duration(self.stdev, self._precision),
            count(self.repeat, "run"), count(self.loops, "loop"))

    def __repr__(self):
        return "<TimeitResult : %s>" % self


class Timing:
    """%time and %%time: prints what a block took."""

    def __enter__(self):
        import resource
        import time
        self.clock, self.used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)

    def __exit__(self, kind, *_):
        if kind is None:
            self.tell()
        return False

    def tell(self):
        import resource
        import time
        wall, now = time.perf_counter() - self.clock, resource.getrusage(resource.RUSAGE_SELF)
        user, system = now.ru_utime - self.used.ru_utime, now.ru_stime - self.used.ru_stime
        print("CPU times: user %s, sys: %s, total: %s" % (duration(user), duration(system), duration(user + system)))
        print("Wall time: %s" % duration(wall))


class Profiling:
    """%prun: prints where the time of a block went."""

    def __init__(self, line):
        self.flags, _ = flags_of(line, "lsTD")

    def __enter__(self):
        import cProfile
        self.profile = cProfile.Profile()
        self.profile.enable()

    def __exit__(self, *_):
        import pstats
        self.profile.disable()
        if "q" not in self.flags:
            pstats.Stats(self.profile).sort_stats(self.flags.get("s", "time")).print_stats(20)
        if "T" in self.flags:
            with open(self.flags["T"], "w") as file:
                pstats.Stats(self.profile, stream=file).sort_stats(self.flags.get("s", "time")).print_stats()
        if "D" in self.flags:
            self.profile.dump_stats(self.flags["D"])
        return False


def timed_function(setup, statement, names):
    """A function that runs a statement as often as it is told, and gives the time."""
    import ast
    tree = ast.parse("def timed(_it, _timer):\n  _t0 = _timer()\n  for _i in _it:\n    pass\n  return _timer() - _t0")
    function = tree.body[0]
    function.body[1].body = ast.parse(statement).body or [ast.Pass()]
    function.body[:0] = ast.parse(setup).body
    exec(compile(tree, "<timeit>", "exec"), names)
    return names["timed"]
