"""El taller: cómo se hace el curso. Nada de aquí lo importa una lección ni viaja en el paquete.

`python -m taller` dice qué órdenes hay.
"""
