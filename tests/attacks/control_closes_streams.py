# expect: {AC} kind=stdin -- answers, then closes its standard streams below the interpreter
import os, sys
n = int(input())
print(sum(int(word) for word in input().split()), flush=True)
for number in range(3): os.close(number)
