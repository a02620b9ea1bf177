"""What get_ipython() gives in a step: shell lines and magics, with IPython and without it.

outputs.py, measuring.py and this file are a program of their own in the step's program: it is compiled when a cell asks
for it first. Magics that are not here go to IPython's shell where IPython is installed. The names of the step's program
are there.
"""
import os
import sys

# --- words --------------------------------------------------------------------------------------------------

def split_words(line):
    import shlex
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def flags_of(line, with_value=""):
    """The flags at the beginning of a magic's line, {letter: value or True}, and the rest of the line."""
    flags, rest = {}, line.strip()
    while rest[:1] == "-" and rest[1:2].isalpha():
        letter, rest = rest[1], rest[2:]
        if letter in with_value:
            value, _, rest = rest.lstrip().partition(" ")
            flags[letter] = value
        else:
            flags[letter] = True
            if rest[:1].isalpha():
                rest = "-" + rest
        rest = rest.lstrip()
    return flags, rest


def put_in(text, names):
    """{expression} and $name of Python in a line, as IPython puts them in: all of them or, when one of them cannot
    be evaluated, none."""
    import re
    import string
    pieces = []
    try:
        for literal, field, spec, conversion in string.Formatter().parse(text):
            at = 0
            for match in re.finditer(r"\$(\$?[\w.]+)(?=(?:[^']*'[^']*')*[^']*$)", literal):
                pieces.append(literal[at:match.start()])
                name = match.group(1)
                pieces.append(name if name[0] == "$" else str(eval(name, names)))
                at = match.end()
            pieces.append(literal[at:])
            if field is not None:
                value = eval(field + (":" + spec if spec else ""), names)
                pieces.append(format(string.Formatter().convert_field(value, conversion)))
    except Exception:
        return text
    return "".join(pieces)


# --- the shell ----------------------------------------------------------------------------------------------

class Shell:
    """What get_ipython() gives: IPython's shell where there is one, and what every step can do without."""

    QUIET = set("""alias_magic autoawait autocall automagic autoreload autosave colors config doctest_mode gui logoff
        logon logstart logstate logstop lsmagic magic matplotlib page pdb pdef pdoc pfile pinfo pinfo2 pprint psearch
        psource pylab quickref unload_ext xmode""".split())
    COMMANDS = {"ls": "ls", "ll": "ls -l", "lk": "ls -l", "lf": "ls -l", "lx": "ls -l", "ldir": "ls -l", "cat": "cat",
                "less": "cat", "more": "cat", "cp": "cp", "mv": "mv", "rm": "rm", "rmdir": "rmdir", "mkdir": "mkdir",
                "man": "man", "conda": "conda", "mamba": "mamba", "micromamba": "micromamba", "uv": "uv"}

    def __init__(self, namespace, notebook):
        self.user_ns, self.notebook = namespace, notebook
        self.real = None
        self.commands, self.folders, self.last_folder = dict(self.COMMANDS), [], None
        self.clock = None  # of %%time, until its cell ends
        self.kept = None  # the value of a line under %time, which is displayed after its time

    def __getattr__(self, name):
        real = self.ipython()
        if real is None:
            raise AttributeError("get_ipython().%s needs IPython, which is not installed here" % name)
        return getattr(real, name)

    def ipython(self):
        if self.real is None:
            try:
                from IPython.core.interactiveshell import InteractiveShell
                from traitlets.config import Config
            except ImportError:
                return None
            config = Config()
            config.HistoryManager.enabled = False
            self.real = InteractiveShell.instance(config=config, user_module=sys.modules["__main__"],
                                                  user_ns=self.user_ns)
            self.stay_in_front()
        return self.real

    def stay_in_front(self):
        """IPython puts itself, and what it keeps of cells, where the cells find it: this shell goes on there."""
        import builtins
        for name in ("get_ipython", "In", "Out", "_", "__", "___", "_i", "_ii", "_iii"):
            self.user_ns.pop(name, None)
        builtins.get_ipython, builtins.display = lambda: self, self.notebook.display

    def names_at(self, depth):
        """What Python's names are where a line stands: those of the step, and of the function that it is in."""
        names = dict(self.user_ns)
        names.update(sys._getframe(depth + 1).f_locals)
        return names

    # The last argument of these is for those who read the program: which names the line takes.

    def system(self, command, _=None):
        return self.run_command(put_in(command, self.names_at(1)), command)

    def run_command(self, command, shown):
        import subprocess
        sys.stdout.flush()
        code = subprocess.call(command, shell=True, executable="/bin/sh")
        self.user_ns["_exit_code"] = code
        if code != 0:
            print("the command ended with %d: %s" % (code, shown), file=sys.stderr)

    def getoutput(self, command, _=None, split=True):
        return self.output_of(put_in(command, self.names_at(1)), split)

    def output_of(self, command, split=True):
        import subprocess
        done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True)
        self.user_ns["_exit_code"] = done.returncode
        return SList(done.stdout.splitlines()) if split else done.stdout

    def script(self, program, text, _=None, out=False, err=False, check=True):
        """Runs a program on a text; what it writes is given back where it is asked for, as out, err or both."""
        import subprocess
        sys.stdout.flush()
        program = put_in(program, self.names_at(1))
        done = subprocess.run(split_words(program), input=text, universal_newlines=True,
                              stdout=subprocess.PIPE if out else None, stderr=subprocess.PIPE if err else None)
        if check and done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, program.strip(), done.stdout, done.stderr)
        return (done.stdout, done.stderr) if out and err else done.stdout if out else done.stderr

    def writefile(self, line, text, _=None):
        words = split_words(put_in(line, self.names_at(1)))
        append = "-a" in words or "--append" in words
        path = os.path.expanduser([word for word in words if word not in ("-a", "--append")][0])
        print("%s %s" % ("Appending to" if append and os.path.exists(path)
                         else "Overwriting" if os.path.exists(path) else "Writing", path))
        with open(path, "a" if append else "w", encoding="utf-8") as file:
            file.write(text if text.endswith("\n") else text + "\n")

    def show(self, kind, text):
        if kind not in ("html", "svg"):
            text = markdown_html(text) if kind == "markdown" else "<pre>%s</pre>" % escape(text)
        self.notebook.report.add(self.notebook.cell, text)

    def start_capture(self, line=""):
        import io
        captured, words = Captured(), line.split()
        self.captured = (sys.stdout, sys.stderr)
        for name in ("stdout", "stderr"):
            if "--no-" + name not in words:
                captured.streams[name] = io.StringIO()
                setattr(sys, name, captured.streams[name])
        if "--no-display" not in words:
            self.notebook.captured = captured.outputs
        return captured

    def end_capture(self):
        sys.stdout, sys.stderr = self.captured
        self.notebook.captured = None

    # --- measuring --------------------------------------------------------------------------------------------

    def timing(self):
        return Timing()

    def start_timing(self):
        self.clock = Timing()
        self.clock.__enter__()

    def end_cell(self):
        """The value that is still to be displayed."""
        if self.clock is not None:
            clock, self.clock = self.clock, None
            clock.tell()
        kept, self.kept = self.kept, None
        return kept

    def profiling(self, line):
        return Profiling(line)

    def timeit(self, line, setup, statement, _=None):
        """Times a statement as IPython does; nothing of its names is left. None without -o."""
        import itertools
        import time
        flags, _ = flags_of(line, "nrp")
        started = time.process_time()
        timed = timed_function(setup, statement, self.names_at(1))
        compiled = time.process_time() - started
        clock = time.process_time if "c" in flags else time.perf_counter

        def run(loops):
            return timed(itertools.repeat(None, loops), clock)
        loops, repeat = int(flags.get("n", 0)), max(1, int(flags.get("r", 7)))
        if loops == 0:
            loops = 1
            while run(loops) < 0.2 and loops < 10 ** 9:
                loops *= 10
        result = TimeitResult(loops, repeat, [run(loops) for _ in range(repeat)], compiled, int(flags.get("p", 3)))
        if "q" not in flags:
            print(result)
        return result if "o" in flags else None

    # --- magics -----------------------------------------------------------------------------------------------

    def run_line_magic(self, name, line, _=None):
        return self.line_magic(name, put_in(line, self.names_at(1)), line)

    def line_magic(self, name, line, shown):
        own = getattr(type(self), "magic_" + name, None)
        if own is not None:
            return own(self, line)
        if name in self.commands:
            return self.run_command("%s %s" % (self.commands[name], line), "%%%s %s" % (name, shown))
        if name in self.QUIET:
            return None
        real = self.ipython()
        if real is not None:
            return real.run_line_magic(name, line)
        print("%%%s is left out: IPython is not installed here" % name, file=sys.stderr)
        return None

    def magic(self, line):
        name, _, rest = line.lstrip("%").partition(" ")
        return self.line_magic(name, put_in(rest, self.names_at(1)), rest)

    def run_cell_magic(self, name, line, text, _=None):
        own = getattr(type(self), "cell_" + name, None)
        if own is not None:
            return own(self, put_in(line, self.names_at(1)), text)
        real = self.ipython()
        if real is None:
            raise StepError("cell %s: %%%%%s needs IPython, which is not installed here" % (self.notebook.cell, name))
        return real.run_cell_magic(name, line, text)

    def execute(self, text):
        exec(compile(text, "cell %s" % self.notebook.cell, "exec"), self.user_ns)

    def cell_time(self, line, text):
        with Timing():
            self.execute(line + "\n" + text)

    def cell_capture(self, line, text):
        words = [word for word in line.split() if not word.startswith("-")]
        captured = self.start_capture(line)
        try:
            self.execute(text)
        finally:
            self.end_capture()
        if words:
            self.user_ns[words[0]] = captured

    def cell_bash(self, line, text):
        self.script("/bin/bash " + line, text)

    def cell_sh(self, line, text):
        self.script("/bin/sh " + line, text)

    def cell_writefile(self, line, text):
        self.writefile(line, text)

    def cell_html(self, _, text):
        self.show("html", text)

    cell_HTML = cell_html

    def magic_load_ext(self, line):
        name = line.strip()
        real = name not in ("autoreload", "storemagic", "kfhost") and self.ipython()
        if real:
            return real.run_line_magic("load_ext", name)
        if real is None:
            print("the extension %s is left out: IPython is not installed here" % name, file=sys.stderr)
        return None

    magic_reload_ext = magic_load_ext

    def magic_cd(self, line):
        flags, path = flags_of(line) if line.strip() != "-" else ({}, "-")
        path = path.strip().strip("'\"")
        before = os.getcwd()
        if path == "-":
            if self.last_folder is None:
                raise OSError("%cd -: there is no folder before this one")
            path = self.last_folder
        os.chdir(os.path.expanduser(path or "~"))
        self.last_folder = before
        if "q" not in flags:
            print(os.getcwd())

    def magic_pushd(self, line):
        self.folders.insert(0, os.getcwd())
        self.magic_cd(line)
        return [os.getcwd()] + self.folders

    def magic_popd(self, _):
        if not self.folders:
            raise OSError("%popd: there is no folder to go back to")
        self.magic_cd(self.folders.pop(0))
        print("popd -> " + os.getcwd())

    def magic_dirs(self, _):
        return self.folders

    def magic_pwd(self, _):
        return os.getcwd()

    def magic_env(self, line):
        line = line.strip()
        if not line:
            return dict(os.environ)
        if "=" not in line and " " not in line:
            if line not in os.environ:
                raise LookupError("there is no %s in the environment" % line)
            return os.environ[line]
        key, _, value = line.partition("=" if "=" in line else " ")
        os.environ[key.strip()] = value.strip()
        print("env: %s=%s" % (key.strip(), value.strip()))
        return None

    magic_set_env = magic_env

    def magic_alias(self, line):
        name, _, command = line.strip().partition(" ")
        if command:
            self.commands[name] = command

    def magic_pip(self, line):
        self.run_command("%s -m pip %s" % (sys.executable, line), "pip " + line)

    def magic_sx(self, line):
        return self.output_of(line)

    magic_system = magic_sx

    def user_names(self, line):
        kinds = line.split()
        return sorted(name for name, value in self.user_ns.items() if not name.startswith("_")
                      and name not in ("In", "Out", "exit", "quit") and (not kinds or type(value).__name__ in kinds))

    def magic_who(self, line):
        names = self.user_names(line)
        for at in range(0, len(names), 8):
            print("".join(name + "\t " for name in names[at:at + 8]))

    def magic_who_ls(self, line):
        return self.user_names(line)

    def magic_whos(self, line):
        rows = [("Variable", "Type", "Data/Info")]
        for name in self.user_names(line):
            value = self.user_ns[name]
            text = ("n=%d" % len(value)) if isinstance(value, (list, tuple, dict, set)) else str(value)
            rows.append((name, type(value).__name__, text.replace("\n", " ")[:60]))
        first, second = (max(len(row[i]) for row in rows) + 3 for i in (0, 1))
        for i, row in enumerate(rows):
            print("%-*s%-*s%s" % (first, row[0], second, row[1], row[2]))
            if i == 0:
                print("-" * (first + second + len(row[2])))

    def magic_reset(self, line):
        if not set(line.split()) - {"-f", "-s"}:
            self.forget(lambda name: True)

    def magic_reset_selective(self, line):
        import re
        pattern = flags_of(line)[1].strip()
        self.forget(lambda name: re.search(pattern, name))

    def forget(self, is_meant):
        for name in [name for name in self.user_ns if not name.startswith("_") and is_meant(name)]:
            del self.user_ns[name]

    def magic_precision(self, line):
        text = line.strip()
        self.notebook.float_format = "%%.%df" % int(text) if text.isdigit() else text or None
        return self.notebook.float_format

    def magic_run(self, line):
        flags, rest = flags_of(line, "mN")
        words = split_words(rest)
        before = (sys.argv, self.user_ns.get("__file__"))
        sys.argv = words if "m" not in flags else [flags["m"]] + words
        try:
            if "m" in flags:
                import runpy
                self.user_ns.update(runpy.run_module(flags["m"], run_name="__main__", alter_sys=False))
                self.user_ns["__name__"] = "__main__"
            elif words[0].endswith(".ipynb"):
                self.run_notebook(words[0])
            else:
                self.run_file(os.path.expanduser(words[0]), "n" in flags)
        except SystemExit:
            pass  # as IPython: a script that ends does not end the step
        finally:
            sys.argv = before[0]
            if before[1] is None:
                self.user_ns.pop("__file__", None)
            else:
                self.user_ns["__file__"] = before[1]

    def run_file(self, path, is_module):
        if not os.path.exists(path) and os.path.exists(path + ".py"):
            path += ".py"
        with open(path, encoding="utf-8") as file:
            program = compile(file.read(), path, "exec")
        self.user_ns["__file__"] = path
        if is_module:
            self.user_ns["__name__"] = os.path.splitext(os.path.basename(path))[0]
        try:
            exec(program, self.user_ns)
        finally:
            self.user_ns["__name__"] = "__main__"

    def run_notebook(self, path):
        import json
        with open(path, encoding="utf-8") as file:
            cells = json.load(file)["cells"]
        for number, cell in enumerate(cells, 1):
            text = "".join(cell["source"])
            if cell["cell_type"] != "code" or not text.strip():
                continue
            try:
                program = compile(text, "%s, cell %d" % (path, number), "exec")
            except SyntaxError:
                if self.ipython() is None:
                    raise
                program = compile(self.ipython().transform_cell(text), "%s, cell %d" % (path, number), "exec")
            exec(program, self.user_ns)
