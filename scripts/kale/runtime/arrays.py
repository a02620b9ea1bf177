"""NumPy arrays that look at the same memory: pickled together, they still do.

a[2:5] and the columns of a pandas frame are views. Alone, a view is an array of its own; where two arrays
have the same root, the root is pickled once and each view says where in it it lies.
"""


def root_of(array):
    """The array whose memory it is."""
    while type(array.base) is type(array):
        array = array.base
    return array


def view_of(root, shape, strides, dtype, offset, writeable):
    import numpy
    memory = root.ravel(order="K").view("u1")
    view = numpy.ndarray(shape, dtype, memory, offset, strides)
    view.flags.writeable = writeable
    return view


def place_in(root, array):
    """Where in the root's memory the array begins; None where that cannot be said of a copy of the root."""
    if array.dtype.hasobject or not (root.flags.c_contiguous or root.flags.f_contiguous) or not root.size:
        return None
    offset = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    return offset if 0 <= offset < root.nbytes else None


def copies_on_write():
    """Whether pandas makes a copy before it writes: then what shares memory is not to be seen as one."""
    import pandas
    return int(pandas.__version__.split(".")[0]) > 2 or pandas.options.mode.copy_on_write is True


class Arrays:
    def __init__(self, shared):
        self.shared = shared  # ids of roots
        self.roots = {}  # id -> root, and how many arrays have it
        self.alone = set()  # ids of arrays that nobody sees as a view

    def reduce(self, array):
        if id(array) in self.alone:
            return NotImplemented
        root = root_of(array)
        self.roots[id(root)] = root, self.roots.get(id(root), (root, 0))[1] + 1
        if id(root) not in self.shared or root is array:
            return NotImplemented
        offset = place_in(root, array)
        if offset is None:
            return NotImplemented
        return view_of, (root, array.shape, array.strides, array.dtype, offset, array.flags.writeable)

    def note_pandas(self, value):
        blocks = getattr(getattr(value, "_mgr", None), "blocks", ())
        if blocks and copies_on_write():
            self.alone.update(id(block.values) for block in blocks)

    @staticmethod
    def shared_by(several):
        """Ids of the roots that more than one array has, in these together."""
        counts = {}
        for arrays in several:
            for key, (_, count) in arrays.roots.items():
                counts[key] = counts.get(key, 0) + count
        return {key for key, count in counts.items() if count > 1}
