# stays: yes
# hide: stream log handler
import logging
import io
stream = io.StringIO()
log = logging.getLogger("kf.demo")
log.setLevel(logging.INFO)
handler = logging.StreamHandler(stream)
handler.setFormatter(logging.Formatter("%(levelname)s:%(message)s"))
log.addHandler(handler)
log.info("one")
log.debug("hidden")
text = stream.getvalue()
print(text.strip())
log.warning("two %d", 2)
count = len(stream.getvalue().splitlines())
print(count)
del handler
level = log.getEffectiveLevel()
print(level)
