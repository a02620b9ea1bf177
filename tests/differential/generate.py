def generate(seed):
    return "x = 1\n"
