people = [("ann", 30), ("bob", 25), ("cat", 35)]
by_age = sorted(people, key=lambda p: p[1])
people.sort(reverse=True)
print(by_age[0], people[0])
weights = {"ann": 2, "bob": 3, "cat": 1}
def weight(p):
    return weights[p[0]] * p[1]
heaviest = max(people, key=weight)
print(heaviest)
weights["cat"] = 10
print(max(people, key=weight))
import heapq
heap = [weight(p) for p in people]
heapq.heapify(heap)
smallest = heapq.heappop(heap)
print(smallest, sorted(heap))
heapq.heappush(heap, 1)
print(heap[0])
import bisect
ages = sorted(a for _, a in people)
bisect.insort(ages, 28)
print(ages)
groups = {}
for name, age in people:
    groups.setdefault(age // 10, []).append(name)
print(groups)
name = "after"
ages.reverse()
print(name, ages, age)
