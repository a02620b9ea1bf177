"""Models of the large libraries cross in their own formats, with the real libraries. TAP; ./dev models.

    build/models/bin/python tests/libraries/models_test.py keras xgboost
    build/tensorflow/bin/python tests/libraries/models_test.py tensorflow
    /usr/bin/python3 tests/libraries/models_test.py torch        (Debian's python3-torch)
"""
import os
import sys

from libraries_test import check_shared, check_value, results, test

DATA = "import numpy as np\nx = np.random.RandomState(0).rand(50, 3)\ny = x.sum(1)\n"

# what makes the value, what a later step prints of it, its format, what is printed
VALUES = {
    "torch": {
        "a tensor": ("import torch\nv = torch.arange(6.).reshape(2, 3)", "print(v.sum().item(), v.dtype)", "torch.pt",
                     "15.0 torch.float32\n"),
        "a module of torch's": (
            "from torch import nn\nimport torch\nv = nn.Sequential(nn.Linear(2, 1), nn.ReLU())\n"
            "with torch.no_grad():\n    v[0].weight.fill_(1.0)\n    v[0].bias.zero_()",
            "import torch\nprint(v(torch.tensor([1., 2.])).tolist())", "torch.pt", "[3.0]\n"),
        "a module of the notebook's": (
            "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.layer = nn.Linear(2, 1)\n    def forward(self, x):\n        return self.layer(x) * 0 + k\n"
            "k = 3\nv = Net()", "import torch\nprint(v(torch.ones(2)).tolist(), type(v).__name__)", "pickle",
            "[3.0] Net\n"),
        "a module in TorchScript": (
            "import torch\nfrom torch import nn\nv = torch.jit.script(nn.Linear(2, 1))\n"
            "with torch.no_grad():\n    v.weight.fill_(2.0)\n    v.bias.zero_()",
            "import torch\nprint(v(torch.ones(2)).tolist())", "torch.script", "[4.0]\n"),
        "a data set": ("import torch\nv = torch.utils.data.TensorDataset(torch.arange(3.))", "print(len(v), v[2][0].item())",
                       "pickle", "3 2.0\n"),
    },
    "xgboost": {
        "a booster": (DATA + "import xgboost as xgb\n"
                      "v = xgb.train({'max_depth': 2}, xgb.DMatrix(x, label=y), 3)",
                      "import xgboost as xgb, numpy as np\nprint(v.num_boosted_rounds(), "
                      "v.predict(xgb.DMatrix(np.zeros((1, 3)))).shape)", "xgboost.json", "3 (1,)\n"),
        "a matrix": (DATA + "import xgboost as xgb\nv = xgb.DMatrix(x, label=y, feature_names=['a', 'b', 'c'])",
                     "print(v.num_row(), v.feature_names, v.get_label().shape)", "xgboost.dmatrix",
                     "50 ['a', 'b', 'c'] (50,)\n"),
        "a regressor as scikit-learn has them": (
            DATA + "import xgboost as xgb\nv = xgb.XGBRegressor(n_estimators=3).fit(x, y)",
            "import numpy as np\nprint(v.predict(np.zeros((1, 3))).shape)", "pickle", "(1,)\n"),
    },
    "keras": {
        "a model": ("import keras\nv = keras.Sequential([keras.layers.Input((2,)), "
                    "keras.layers.Dense(1, kernel_initializer='ones')])",
                    "import numpy as np\nprint(v.predict(np.ones((1, 2)), verbose=0).tolist())", "keras", "[[2.0]]\n"),
    },
    "tensorflow": {
        "a model of Keras": ("import tensorflow as tf\nv = tf.keras.Sequential([tf.keras.layers.Input((2,)), "
                             "tf.keras.layers.Dense(1, kernel_initializer='ones')])",
                             "import numpy as np\nprint(v.predict(np.ones((1, 2)), verbose=0).tolist())", "keras",
                             "[[2.0]]\n"),
        "a model of Keras before its third version": (
            "import tf_keras\nv = tf_keras.Sequential([tf_keras.layers.Input((2,)), "
            "tf_keras.layers.Dense(1, kernel_initializer='ones')])",
            "import numpy as np\nprint(v.predict(np.ones((1, 2)), verbose=0).tolist())", "tensorflow.keras", "[[2.0]]\n"),
        "a SavedModel": (
            "import tempfile\nimport tensorflow as tf\n"
            "class Twice(tf.Module):\n    def __init__(self):\n        super().__init__()\n        self.k = tf.Variable(2.0)\n"
            "    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])\n    def __call__(self, x):\n"
            "        return self.k * x\n"
            "folder = tempfile.mkdtemp()\ntf.saved_model.save(Twice(), folder)\nv = tf.saved_model.load(folder)",
            "import tensorflow as tf\nprint(v(tf.constant(3.0)).numpy(), v.k.numpy())", "tensorflow.savedmodel",
            "6.0 2.0\n"),
        "a module of the notebook's": (
            "import tensorflow as tf\nclass Twice(tf.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.k = tf.Variable(2.0)\n    def __call__(self, x):\n        return self.k * x\nv = Twice()",
            "print(v(4.0).numpy(), type(v).__name__)", "pickle", "8.0 Twice\n"),
        "a tensor": ("import tensorflow as tf\nv = tf.constant([[1, 2]])", "print(v.numpy().tolist(), v.dtype.name)",
                     "pickle", "[[1, 2]] int32\n"),
        "a variable": ("import tensorflow as tf\nv = tf.Variable([1.5], name='w')", "print(v.numpy().tolist(), v.name)",
                       "pickle", "[1.5] w:0\n"),
    },
}

# step by step as in one process
SHARED = {
    "torch": {
        "a model and its optimizer": [
            "import torch\ntorch.manual_seed(0)\nfrom torch import nn\nnet = nn.Linear(2, 1)\nx = torch.ones(4, 2)",
            "optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)",
            "for _ in range(3):\n    optimizer.zero_grad()\n    loss = (net(x) ** 2).mean()\n    loss.backward()\n"
            "    optimizer.step()",
            "loss = (net(x) ** 2).mean()\nloss.backward()\noptimizer.step()\nprint([p.tolist() for p in net.parameters()])",
        ],
        "rows of a tensor": [
            "import torch\nt = torch.zeros(2, 3)", "row, column = t[0], t[:, 1]", "row[1] = 5", "column += 1",
            "print(t.tolist(), row.tolist(), column.tolist())",
        ],
        "a network that learns while it is called": [
            "import torch\nfrom torch import nn\nnet = nn.BatchNorm1d(2)", "x = torch.arange(8.).reshape(4, 2)\ny = net(x)",
            "print(net.running_mean.tolist())\nnet = net.eval()", "print(net.training, net(x).detach().sum().item() < 1e9)",
        ],
    },
}


def main():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow" if "tensorflow" in sys.argv else "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for library in sys.argv[1:]:
        for name, value in VALUES[library].items():
            test("%s: %s crosses" % (library, name), check_value, *value)
        for name, cells in SHARED.get(library, {}).items():
            test("%s, in steps as in one process: %s" % (library, name), check_shared, *cells)
    print("1..%d" % len(results))
    print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
