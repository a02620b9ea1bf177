"""What has to be there before a step begins: packages that its image lacks, its working directory."""
import os
import sys


def is_there(requirement):
    """Whether a package is installed, in the wanted version when that is a plain ==."""
    import re
    from importlib import metadata
    match = re.match(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:==\s*([A-Za-z0-9.+!_-]+))?$", requirement)
    if not match:
        return False
    try:
        return match.group(2) in (None, metadata.version(match.group(1)))
    except metadata.PackageNotFoundError:
        return False


def install_packages():
    """What the step's packages tags name and the image lacks, into a folder of this process."""
    missing = [word for word in os.environ.get("KFHOST_PACKAGES", "").split() if not is_there(word)]
    if not missing:
        return
    import subprocess
    import tempfile
    folder = tempfile.mkdtemp(prefix="packages-")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "--target", folder, *missing]
    if subprocess.call(command) != 0:
        raise StepError("the packages %s cannot be installed" % ", ".join(missing))
    sys.path.insert(0, folder)


def change_directory():
    folder = os.environ.get("KFHOST_WORKING_DIR")
    if folder and os.path.isdir(folder):
        os.chdir(folder)
