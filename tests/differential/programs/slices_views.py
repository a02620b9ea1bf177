# stays: yes
# hide: view part window
import array
data = bytearray(b"abcdef")
view = memoryview(data)
part = view[2:4]
part[0] = ord("X")
print(data)
numbers = array.array("i", [1, 2, 3])
window = memoryview(numbers)
window[1] = 20
print(numbers.tolist())
matrix = [[0] * 3] * 2
matrix[0][1] = 5
print(matrix)
rows = matrix[:]
rows[1][2] = 7
print(matrix, rows is matrix)
part[1] = ord("Y")
print(bytes(data), numbers[1])
cut = slice(1, 3)
got = bytes(data)[cut]
print(got)
