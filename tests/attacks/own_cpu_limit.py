# expect: {TLE} kind=stdin -- lowers its own CPU limit, so that the kernel kills it as if somebody else had
import contextlib, resource
with contextlib.suppress(ValueError, OSError): resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
while True: pass
