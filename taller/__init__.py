"""El taller: cómo se hace el curso. Nada de aquí lo importa una lección ni viaja en la rueda.

`python -m taller` dice qué órdenes hay.
"""
