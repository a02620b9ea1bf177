class AppError(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code
class Fatal(AppError):
    pass
caught = []
def risky(n):
    if n > 1:
        raise Fatal(n)
    return n
for n in range(4):
    try:
        caught.append(risky(n))
    except AppError as problem:
        caught.append(problem.code)
print(caught)
saved = None
try:
    risky(9)
except Fatal as err:
    saved = err
print(saved.code, str(saved), type(saved).__name__)
def safe(fn, *args):
    try:
        return fn(*args)
    except AppError as e:
        return e.code
print(safe(risky, 5), isinstance(saved, AppError))
try:
    err
except NameError:
    print("err is gone")
print(saved.args)
