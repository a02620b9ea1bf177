import warnings
def noisy():
    warnings.warn("old", DeprecationWarning)
    return 3
warnings.simplefilter("error", DeprecationWarning)
try:
    noisy()
    caught = False
except DeprecationWarning:
    caught = True
print(caught)
warnings.simplefilter("ignore")
value = noisy()
print(value)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    noisy()
number = len(seen)
messages = [str(w.message) for w in seen]
print(number, messages)
more = noisy() + number
print(more)
