# stays: yes
import sys
import builtins
answers = iter(["4", "x"])
def fake_input(prompt=""):
    print(prompt, end="")
    return next(answers)
input = fake_input
n = int(input("n? "))
print(n)
def main(argv=None):
    argv = argv or sys.argv[:0]
    print("main", n, len(argv))
    return n + 1
if __name__ == "__main__":
    result = main()
else:
    result = None
name = input("name? ")
print(result, name)
del input
kind = type(input).__name__
print(kind)
lines = []
print = lambda *a, **k: lines.append(a)
print("hidden")
builtins.print(lines)
