from course_lib.decision import Lack

respuesta = {"a": Lack.CHANGING_KNOWLEDGE, "b": Lack.FORMAT, "c": Lack.ANOTHER_FORM}
respuesta |= {"d": Lack.NEW_KNOWLEDGE, "e": Lack.UNKNOWN}
