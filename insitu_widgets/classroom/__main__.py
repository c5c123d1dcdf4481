"""``python -m insitu_widgets.classroom --config=classroom_config.py`` opens the classroom."""

from insitu_widgets.classroom.app import Classroom

if __name__ == "__main__":
    Classroom.launch_instance()
