"""`setup_model_venv.py FOLDER`: a Python environment for one model, which also sees this interpreter's packages."""
import os
import site
import subprocess
import sys
import sysconfig
import venv


def create_venv(venv_path):
    """Makes the environment anew, with pip."""
    venv.EnvBuilder(clear=True, symlinks=os.name != "nt", with_pip=True).create(venv_path)


def inherit_site_packages(venv_path):
    """Puts the packages of this interpreter behind the environment's own. By a path file: the environment's option for
    it would name the packages of the interpreter that a venv was made from, not those of the venv."""
    inherited = site.getsitepackages() + [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if site.ENABLE_USER_SITE:
        inherited.append(site.getusersitepackages())
    folder = os.path.join(venv_path, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
    with open(os.path.join(folder, "inherited-site-packages.pth"), "w", encoding="utf-8") as file:
        file.write("".join(path + "\n" for path in dict.fromkeys(inherited)))


def main(argv):
    if len(argv) != 2:
        sys.exit("usage: setup_model_venv.py FOLDER")
    try:
        create_venv(argv[1])
        inherit_site_packages(argv[1])
    except subprocess.CalledProcessError as error:
        said = (error.output or b"").decode("utf-8", "replace").strip()
        sys.exit("the environment %s could not be made: %s\n%s" % (argv[1], error, said))
    except OSError as error:
        sys.exit("the environment %s could not be made: %s" % (argv[1], error))


if __name__ == "__main__":
    main(sys.argv)
