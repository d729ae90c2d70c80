"""What 'watch' has committed survives kill -9, a registry that cannot be written and a power cut; what it
has not is found again."""

from steps import (Bench, Poisonctl, Watch, choose_free_frames, expect, poison_by_injector)


def run(bench: Bench) -> None:
    with bench.boot() as guest:
        tool = Poisonctl.in_guest(guest)
        seen, buffered, lost, unwritten = choose_free_frames(guest, 4)

        watch = Watch(guest)
        poison_by_injector(guest, [seen])
        watch.wait_for_events(tool, seen, 1)
        watch.kill()

        bench.say("an error while nobody watches: the kernel's buffer has it")
        poison_by_injector(guest, [buffered])
        watch = Watch(guest)
        event = watch.wait_for_events(tool, buffered, 1)[0]
        expect(event["result"] == "free buddy page: Recovered", f"result is {event['result']!r}")
        expect(len(watch.wait_for_events(tool, seen, 1)) == 1, "an event was recorded twice")
        watch.kill()

        bench.say("an error that the buffer lost: the scan has it")
        guest.check(f"rmdir {Watch.INSTANCE}")
        poison_by_injector(guest, [lost])
        watch = Watch(guest)
        watch.wait_for_events(tool, lost, 1, "kernel")

        bench.say("an error while the registry cannot be written, then the end of the service")
        # Busy until nobody writes any more.
        guest.check("until mount -o remount,ro /disk; do sleep 0.1; done", timeout=60)
        poison_by_injector(guest, [unwritten])
        watch.wait_for("trying again every second")
        status = watch.terminate()
        expect(status == "73", f"expected status 73 of a watch that lost an event, got {status}")
        expect("could not be stored" in watch.output(), f"it said {watch.output()}")
        guest.check("mount -o remount,rw /disk")
        watch = Watch(guest)
        watch.wait_for_events(tool, unwritten, 1, "kernel")

        bench.say("a power cut right after an error was seen in the registry")
        last = choose_free_frames(guest, 1, avoid=[seen, buffered, lost, unwritten], seed=2)[0]
        poison_by_injector(guest, [last])
        watch.wait_for_events(tool, last, 1)
        disk = bench.results / "disk.img"

    with bench.boot(disk=disk, name="after") as guest:
        tool = Poisonctl.in_guest(guest)
        tool.run("audit", "verify")
        records = {start for start, _ in tool.records()}
        missing = {seen, buffered, lost, unwritten, last} - records
        expect(not missing, f"the power cut lost {[hex(frame) for frame in missing]}")
        guest.power_off()
