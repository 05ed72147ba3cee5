# expect: {WA,RE,SV,ILE} kind=stdin -- gives the harness's own functions other code, and its objects other contents
import gc, sys, types
always = (lambda *_, **__: ({"end": "finished", "value": True}, "0")).__code__
for thing in gc.get_objects():
    if isinstance(thing, types.FunctionType) and "opsd" in thing.__code__.co_filename:
        try: thing.__code__ = always
        except ValueError: pass
frame = sys._getframe()
while frame:
    for thing in list(frame.f_locals.values()):
        for name, value in (("code", compile("", "x", "exec")), ("compile_error", None), ("is_plain", True)):
            try: setattr(thing, name, value)
            except Exception: pass
    frame = frame.f_back
