# stays: yes
# hide: lock worker threads box pool t futures results
import threading
import queue
from concurrent.futures import ThreadPoolExecutor
lock = threading.Lock()
results = []
def work(n):
    with lock:
        results.append(n * n)
worker = threading.Thread(target=work, args=(3,))
worker.start()
worker.join()
print(results)
threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(sorted(results))
with ThreadPoolExecutor(2) as pool:
    futures = list(pool.map(lambda x: x + 1, results))
print(sorted(futures))
box = queue.Queue()
box.put(5)
got = box.get()
done = sorted(results) + [got]
print(done)
