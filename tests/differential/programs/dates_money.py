import datetime as dt
from decimal import Decimal, getcontext, ROUND_HALF_UP
from fractions import Fraction
import uuid
start = dt.date(2024, 1, 31)
days = [start + dt.timedelta(days=7 * i) for i in range(4)]
print([d.isoformat() for d in days])
price = Decimal("19.99")
quantity = 3
total = (price * quantity).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)
print(total)
share = Fraction(1, 3) + Fraction(1, 6)
print(share, float(share))
when = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone.utc)
print(when.timestamp(), when.strftime("%d.%m.%y"))
ns = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
ident = uuid.uuid5(ns, "kf")
print(ident)
def due(day, *, grace=dt.timedelta(days=14)):
    return day + grace
late = {d: due(d) for d in days if d.month == 2}
print(len(late), max(late.values()))
span = days[-1] - days[0]
print(span.days, complex(1, 2) * 2j, b"by" + bytes([116]), bytearray(b"x"))
