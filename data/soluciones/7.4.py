from course_lib.exercises.lesson_07 import BROKEN

said = " {{ message['content'] }}{% endif %}"
marked = "{% generation %} {{ message['content'] }}{{ eos_token }}{% endgeneration %}{% endif %}"
respuesta = BROKEN.replace(said, marked).replace("<|bot|> {% endif %}", "<|bot|>{% endif %}")
