# expect: {AC} kind=stdin -- leaves a daemon thread computing after its answer
import threading
def endless():
    while True: pass
input()
print(sum(int(word) for word in input().split()))
threading.Thread(target=endless, daemon=True).start()
