"""A CNI plugin that writes down what it is asked, and behaves as told."""
import contextlib
import json
import os
import stat

from kit.wait import wait_for

# Writes down what it is asked, and answers with an address, or does as the file `behave` says.
PLUGIN = """#!/bin/sh
here={folder}
exec 9>$here/lock; flock 9
n=$(cat $here/count 2>/dev/null || echo 0); n=$((n + 1)); echo $n > $here/count
cat > $here/$n.stdin
env | grep ^CNI_ > $here/$n.new && mv $here/$n.new $here/$n.env
exec 9>&-
case "$CNI_COMMAND" in
VERSION) echo '{{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}}'; exit 0;;
esac
[ -f $here/behave-$CNI_COMMAND ] && . $here/behave-$CNI_COMMAND
case "$CNI_COMMAND" in
ADD) echo '{{"cniVersion":"1.0.0","interfaces":[{{"name":"eth0","sandbox":"'$CNI_NETNS'"}}],"ips":[{{"address":"{address}/24","interface":0}}]}}';;
esac
exit 0
"""


class Recorder:
    """A plugin of our own in a folder that the daemon searches first."""

    def __init__(self, daemon, name="recorder", address="198.51.100.7"):
        self.folder = f"{daemon.root}/recorded-{name}"
        self.bin = f"{daemon.root}/plugins"
        os.makedirs(self.folder, exist_ok=True)
        os.makedirs(self.bin, exist_ok=True)
        path = f"{self.bin}/{name}"
        with open(path, "w") as file:
            file.write(PLUGIN.format(folder=self.folder, address=address))
        os.chmod(path, stat.S_IRWXU)
        if self.bin not in daemon.plugin_dirs:
            daemon.plugin_dirs.insert(0, self.bin)
        daemon.write_config()

    def behave(self, command, script):
        with open(f"{self.folder}/behave-{command}", "w") as file:
            file.write(script)

    def hold(self, command):
        """It waits, before it answers, until release()."""
        for name in ("held", "go"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.folder}/{name}")
        self.behave(command, f"touch {self.folder}/held; while [ ! -e {self.folder}/go ]; do sleep 0.05; done\n")

    def wait_held(self):
        wait_for(lambda: os.path.exists(f"{self.folder}/held"), "the plugin to be asked")

    def release(self):
        with open(f"{self.folder}/go", "w"):
            pass

    def forget(self, command):
        os.unlink(f"{self.folder}/behave-{command}")

    def calls(self, command=None):
        """What it was asked so far, each {"env": {...}, "config": {...}}."""
        made = []
        for name in sorted((n for n in os.listdir(self.folder) if n.endswith(".env")), key=lambda n: int(n.split(".")[0])):
            with open(f"{self.folder}/{name}") as file:
                env = dict(line.rstrip("\n").split("=", 1) for line in file)
            with open(f"{self.folder}/{name[:-4]}.stdin") as file:
                text = file.read()
            if not command or env["CNI_COMMAND"] == command:
                made.append({"env": env, "config": json.loads(text) if text.strip() else None})
        return made
