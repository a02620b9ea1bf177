"""Values of what commands wrote and of what cells displayed: those of `x = !ls` and of %%capture."""
import os
import sys


class SList(list):
    """The lines of a command's output: a list, and the ways to look at it that people know from IPython."""

    l = list = property(lambda self: self)
    n = nlstr = property(lambda self: "\n".join(self))
    s = spstr = property(lambda self: " ".join(self))

    @property
    def p(self):
        from pathlib import Path
        return [Path(line) for line in self if os.path.exists(line)]

    paths = p

    def get_list(self):
        return self

    def get_nlstr(self):
        return self.n

    def get_spstr(self):
        return self.s

    def get_paths(self):
        return self.p

    def grep(self, pattern, prune=False, field=None):
        """The lines, or with prune the other lines, that match: a regular expression or a function; field: of
        that word alone."""
        import re

        def text_of(line):
            if field is None:
                return line
            words = line.split()
            return words[field] if -len(words) <= field < len(words) else ""

        def matches(line):
            if isinstance(pattern, str):
                return re.search(pattern, text_of(line), re.IGNORECASE) is not None
            return bool(pattern(text_of(line)))
        return SList(line for line in self if matches(line) != prune)

    def fields(self, *numbers):
        """The words of each line; with numbers, these words of the lines that have one of them."""
        words = [line.split() for line in self]
        if not numbers:
            return words
        found = [" ".join(line[i] for i in numbers if -len(line) <= i < len(line)) for line in words]
        return SList(line for line in found if line)

    def sort(self, field=None, nums=False):
        """A sorted copy: by the whole lines or by a word, as texts or as numbers."""
        def key(line):
            words = line.split()
            text = line if field is None else words[field] if -len(words) <= field < len(words) else ""
            if not nums:
                return text
            digits = "".join(letter for letter in text if letter.isdigit())
            return int(digits) if digits else 0
        return SList(sorted(self, key=key))


class Captured:
    """What %%capture NAME gives."""

    def __init__(self):
        self.streams, self.outputs = {}, []

    @property
    def stdout(self):
        return self.text("stdout")

    @property
    def stderr(self):
        return self.text("stderr")

    def text(self, name):
        return self.streams[name].getvalue() if name in self.streams else ""

    def show(self):
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)
        for output in self.outputs:
            output.display()

    __call__ = show

    def __str__(self):
        return self.stdout

    def __getstate__(self):
        return {"outputs": self.outputs, "streams": {name: self.text(name) for name in self.streams}}

    def __setstate__(self, state):
        import io
        self.outputs = state["outputs"]
        self.streams = {name: io.StringIO(text) for name, text in state["streams"].items()}


class CapturedOutput:
    """A value that was displayed under %%capture."""

    def __init__(self, text, html):
        self.data = {"text/plain": text}
        if html is not None:
            self.data["text/html"] = html

    def _repr_html_(self):
        return self.data.get("text/html")

    def __repr__(self):
        return self.data["text/plain"]

    def display(self):
        get_ipython().notebook.display(self)
