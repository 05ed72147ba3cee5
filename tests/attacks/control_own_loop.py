# expect: {AC} kind=stdin -- makes an event loop of its own the thread's, and closes it
import asyncio
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
async def total():
    await asyncio.sleep(0)
    input()
    return sum(int(word) for word in input().split())
print(loop.run_until_complete(total()))
loop.close()
