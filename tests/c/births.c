/* Threads that are born and end all the time, on new stacks and on those of ended ones, each with a pipe of its own:
 * births NAME GO-FILE. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __thread char block[100 * 1024];
static const char *go;

static void *brief(void *arg)
{
	char mark = (char)(long)arg, *heap = malloc(1000), back = 0;
	int ends[2];

	memset(block, mark, sizeof(block));
	memset(heap, mark, 1000);
	for (int i = 0; i < 1000; i++)
		if (heap[i] != mark || block[i * 100] != mark) {
			puts("a thread has lost its memory");
			exit(1);
		}
	free(heap);
	if (pipe(ends) != 0 || write(ends[1], &mark, 1) != 1 || read(ends[0], &back, 1) != 1 || back != mark) {
		puts("a pipe has lost its byte");
		exit(1);
	}
	close(ends[0]);
	close(ends[1]);
	return arg;
}

static void *bear(void *none)
{
	while (access(go, F_OK) != 0) {
		pthread_t threads[4];

		for (long i = 0; i < 4; i++)
			if (pthread_create(&threads[i], NULL, brief, (void *)(i + 1)) != 0)
				exit(2);
		for (long i = 0; i < 4; i++) {
			void *result;

			if (pthread_join(threads[i], &result) != 0 || result != (void *)(i + 1))
				exit(3);
		}
	}
	return none;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];

	if (argc < 3)
		return 2;
	go = argv[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, bear, NULL);
	puts("ready");
	fflush(stdout);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	puts("ok");
	return 0;
}
