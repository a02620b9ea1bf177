-- kfhost version: says which kfhost this is.
print("kfhost 0.1.0")
