log = []
class Retry(Exception):
    attempts = 0
def flaky(n):
    if n < 2:
        raise Retry(f"try {n}")
    return "ok"
for attempt in range(5):
    try:
        result = flaky(attempt)
    except Retry as r:
        log.append(str(r))
        continue
    else:
        break
    finally:
        log.append("f")
print(result, attempt, log)
try:
    try:
        1 / 0
    except ZeroDivisionError as z:
        raise ValueError("wrapped") from z
except ValueError as v:
    cause = type(v.__cause__).__name__
    message = v.args[0]
print(cause, message)
problems = []
def collect(f, *a):
    try:
        return f(*a)
    except (TypeError, ValueError) as e:
        problems.append(e)
values = [collect(int, t) for t in ("1", "x", None)]
print(values, [type(p).__name__ for p in problems])
def cleanup():
    try:
        return "body"
    finally:
        log.append("cleanup")
print(cleanup(), log[-1], len(log))
first = problems[0]
print(first.args[0][:7], "result" in dir())
