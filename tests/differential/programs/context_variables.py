import contextvars
import decimal
import locale
user = contextvars.ContextVar("user", default="nobody")
print(user.get())
token = user.set("ann")
print(user.get())
def who():
    return "user " + user.get()
print(who())
context = contextvars.copy_context()
user.set("bob")
print(who(), context.run(who))
user.reset(token)
print(who())
decimal.getcontext().prec = 5
third = decimal.Decimal(1) / 3
print(third)
half = decimal.Decimal(2) / 3
print(half)
own = decimal.Context(prec=3)
print(own.divide(decimal.Decimal(1), decimal.Decimal(3)))
with decimal.localcontext() as local:
    local.prec = 2
    short = decimal.Decimal(1) / 3
print(short, decimal.getcontext().prec)
old = locale.setlocale(locale.LC_NUMERIC, "C")
print(locale.localeconv()["decimal_point"], old)
