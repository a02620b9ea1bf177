"""NumPy arrays and PyTorch tensors that look at the same memory: pickled together, they still do.

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


def tensor_of(whole, size, stride, offset, needs_gradient, kind, gradient):
    import torch
    tensor = whole.as_strided(size, stride, offset)
    if kind == "Parameter":
        tensor = torch.nn.Parameter(tensor, requires_grad=needs_gradient)
    else:
        tensor.requires_grad_(needs_gradient)
    tensor.grad = gradient
    return tensor


def memory_of(tensor):
    """Where a tensor's memory begins, and its size in bytes; 0 where there is none to be shared."""
    if tensor.device.type != "cpu" or tensor.is_sparse or tensor.is_quantized or not tensor.is_leaf:
        return 0, 0
    storage = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()
    return storage.data_ptr(), storage.nbytes()


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
        self.has_gradients = False  # which a library's own format leaves out
        self.tensors = {}  # address and type -> the tensor of all the memory there

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

    def reduce_tensor(self, tensor):
        address, size = (0, 0) if id(tensor) in self.alone else memory_of(tensor)
        key = "tensor", address
        if not address:
            return NotImplemented
        self.roots[key] = None, self.roots.get(key, (None, 0))[1] + 1
        if key not in self.shared and tensor.grad is None:
            return NotImplemented
        self.has_gradients = self.has_gradients or tensor.grad is not None
        if (address, tensor.dtype) not in self.tensors:
            whole = tensor.detach().as_strided((size // tensor.element_size(),), (1,), 0)
            self.tensors[address, tensor.dtype] = whole
            self.alone.add(id(whole))
        return tensor_of, (self.tensors[address, tensor.dtype], tuple(tensor.shape), tensor.stride(),
                           tensor.storage_offset(), tensor.requires_grad, type(tensor).__name__, tensor.grad)

    def note_pandas(self, value):
        blocks = getattr(getattr(value, "_mgr", None), "blocks", ())
        if blocks and copies_on_write():
            self.alone.update(id(block.values) for block in blocks)

    @staticmethod
    def mixed(several):
        """Whether an array and a tensor look at the same memory: in another step they do not."""
        tensors, arrays = set(), set()
        for one in several:
            for key, (root, _) in one.roots.items():
                if isinstance(key, tuple):
                    tensors.add(key[1])
                else:
                    arrays.add(root.__array_interface__["data"][0])
        return bool(tensors & arrays)

    @staticmethod
    def shared_by(several):
        """Ids of the roots that more than one array has, in these together."""
        counts = {}
        for arrays in several:
            for key, (_, count) in arrays.roots.items():
                counts[key] = counts.get(key, 0) + count
        return {key for key, count in counts.items() if count > 1}
