import sys
memo = {}
depth = 0
def fact(n):
    return 1 if n <= 1 else n * fact(n - 1)
def even(n):
    return True if n == 0 else odd(n - 1)
def odd(n):
    return False if n == 0 else even(n - 1)
def fib(n):
    global depth
    depth += 1
    if n in memo:
        return memo[n]
    memo[n] = n if n < 2 else fib(n - 1) + fib(n - 2)
    return memo[n]
print(fact(10), even(7), odd(7))
answer = fib(15)
print(answer, len(memo), depth)
again = fib(15)
print(again, depth)
def tree(n):
    return {"v": n, "kids": [tree(n - 1) for _ in range(n)]}
root = tree(2)
def walk(t):
    yield t["v"]
    for k in t["kids"]:
        yield from walk(k)
print(list(walk(root)))
root["kids"][0]["v"] = 99
print(sum(walk(root)))
memo.clear()
print(fib(5), memo)
