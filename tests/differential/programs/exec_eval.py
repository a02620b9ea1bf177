code = "a = 1\nb = a + 1"
namespace = {}
exec(code, namespace)
got = namespace["b"]
print(got)
double = eval("lambda x: x * 2")
four = double(2)
print(four)
exec("made_here = 5")
total = made_here + four
print(total)
globals()["dynamic"] = 7
print(dynamic)
name = "dyn2"
for i in range(2):
    globals()[f"var_{i}"] = i * 10
print(var_1)
values = [eval(f"var_{i}") for i in range(2)]
print(values, vars().get("got"))
