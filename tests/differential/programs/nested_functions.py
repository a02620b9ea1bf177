tax = 0.2
names = []
def outer(price):
    rate = tax
    def with_tax():
        names.append(price)
        return price * (1 + rate)
    class Receipt:
        total = with_tax()
        def text(self):
            return f"{self.total:.2f} {currency}"
    return Receipt()
currency = "EUR"
def caller(prices):
    return [outer(p).text() for p in prices]
texts = caller([1, 2])
print(texts, names)
tax = 0.5
currency = "USD"
print(caller([10]))
def compose(*fs):
    def run(x):
        for f in fs:
            x = f(x)
        return x
    return run
inc = lambda v: v + step
step = 1
both = compose(inc, inc, str)
print(both(1))
step = 10
print(both(1), names, tax)
