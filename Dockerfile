# The chapter on a CPU: docker build -t image-classification . && docker run --rm image-classification
# Its tests: docker run --rm image-classification sh -c "pip install -r requirements-dev.txt && python -m pytest"
# To train and keep the model: docker run --rm -v "$PWD/model:/chapter/model" image-classification \
#   python train.py --model-dir model
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
WORKDIR /chapter
COPY requirements*.txt ./
RUN pip install --no-cache-dir -r requirements-cpu.txt
COPY . .
CMD ["python", "infer.py", "dog.png"]
