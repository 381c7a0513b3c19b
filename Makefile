# Las órdenes del curso. Escribe `make` para ver qué hace cada una.

# El primer Python del sistema que tenga la versión necesaria. Para elegir otro:
#   make curso PYTHON=/ruta/a/python
PYTHON ?= $(shell for p in python3.11 python3 python3.14 python3.13 python3.12 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; \
	done)

# Las versiones exactas; las de Colab están en constraints-colab.txt.
CONSTRAINTS ?= constraints.txt

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.preparado

.DEFAULT_GOAL := ayuda
.PHONY: ayuda curso test lab sitio diapositivas clase colab revisar limpiar

ayuda: ## muestra esta ayuda
	@echo "Órdenes del curso:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

curso: $(READY) ## prepara el entorno y ejecuta las lecciones; los resultados quedan en salida/
	@$(PY) -m course_lib.cli ejecutar

test: $(READY) ## prepara el entorno y pasa las pruebas, también las de cada cuaderno
	@$(PY) -m pytest -n 2 --no-loadscope-reorder --doctest-modules --nbval --nbval-current-env \
		--nbval-cell-timeout=600 --nbval-sanitize-with=tests/nbval_sanitize.cfg \
		$(wildcard notebooks) tests course_lib

lab: $(READY) ## abre en JupyterLab tu copia de las lecciones, en mis_cuadernos/
	@$(PY) -m course_lib.cli cuadernos
	@JUPYTER_CONFIG_PATH="$(CURDIR)/taller/jupyter" $(PY) -m jupyterlab \
		--LabApp.default_url=/lab/tree/mis_cuadernos/00_empieza_aqui.ipynb

sitio: $(READY) ## hace en salida/sitio/ el sitio del curso, que se lee y se busca sin red
	@$(PY) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[sitio]"
	@$(PY) -m taller.sitio

diapositivas: $(READY) ## hace en salida/diapositivas/ las de cada lección, que se proyectan sin red
	@$(PY) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[diapositivas]"
	@$(PY) -m taller.diapositivas

clase: sitio diapositivas ## reúne en un zip lo que pide una clase sin red, también lo que hay que instalar
	@$(PY) -m taller empaquetar --clase

colab: $(READY) ## ejecuta las lecciones en un entorno con las versiones de Colab
	@$(PY) -m taller.colab resolver
	@$(PY) -m taller.colab entorno

revisar: $(READY) ## revisa el estilo del código y la ortografía
	@status=0; \
	$(PY) -m ruff check --output-format=concise . || status=1; \
	$(PY) -m ruff format --check . || status=1; \
	$(PY) -m taller.ortografia || status=1; \
	exit $$status

limpiar: ## borra lo que se puede rehacer: el entorno, los resultados y las cachés
	@rm -rf $(VENV) .venv-colab salida build dist .pytest_cache .ruff_cache
	@find . -name .git -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-prune -exec rm -rf {} +

# El archivo $(READY) marca que el entorno está al día: la segunda vez no se instala nada.
$(READY): pyproject.toml $(CONSTRAINTS)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		found=$$({ "$(PYTHON)" --version || echo ninguno; } 2>/dev/null); \
		echo "Hace falta Python 3.11 o posterior (encontrado: $$found). Instálalo o indica" \
		"dónde está: make curso PYTHON=/ruta/a/python" >&2; exit 1; }
	@echo "Preparando el entorno en $(VENV); la primera vez tarda unos minutos."
	@"$(PYTHON)" -m venv $(VENV) || { echo "No se pudo crear $(VENV). En Debian o Ubuntu instala" \
		"antes el paquete python3-venv y vuelve a intentarlo." >&2; exit 1; }
	@$(PY) -m pip install --disable-pip-version-check -c $(CONSTRAINTS) -e ".[lab,tests]"
	@touch $(READY)
