import traceback
class Broken(Exception):
    def __init__(self, part, *rest):
        super().__init__(part, *rest)
        self.part = part
def fail(n):
    try:
        return 1 // n
    except ZeroDivisionError as error:
        raise Broken("wheel", n) from error
try:
    fail(0)
except Broken as caught:
    kept = caught
print(kept, kept.part, repr(kept.__cause__))
kept.note = "kept"
try:
    try:
        {}["missing"]
    except KeyError:
        raise ValueError("while looking")
except ValueError as caught:
    context = caught
print(type(context.__context__).__name__, context.__suppress_context__)
errors = [kept, context]
print([type(e).__name__ for e in errors], kept.note)
try:
    raise kept
except Broken as again:
    same = again is kept
print(same, kept.args)
def walk(error):
    while error is not None:
        yield type(error).__name__
        error = error.__cause__ or error.__context__
chain = list(walk(kept))
print(chain)
text = "".join(traceback.format_exception_only(type(kept), kept))
print(text.strip())
quiet = None
try:
    try:
        int("x")
    except ValueError:
        raise Broken("from none") from None
except Broken as error:
    quiet = error
print(quiet.__suppress_context__, quiet.__cause__, type(quiet.__context__).__name__)
outcome = {"error": kept, "ok": False}
outcome["error"].note += "!"
print(kept.note, [type(e.__cause__).__name__ for e in (kept, quiet)])
