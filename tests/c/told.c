/* What MPI libraries tell differently: how the program was launched (MPI_INFO_ENV), and whose error handler has the errors of
 * a window that none was set for. With "fatal" such an error is all that there is. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

static int noted;

static void note(MPI_Comm *comm, int *code, ...)
{
    MPI_Error_class(*code, &noted);
    printf("handler of %s\n", *comm == MPI_COMM_WORLD ? "MPI_COMM_WORLD" : "another");
}

static void launched(void)
{
    char key[MPI_MAX_INFO_KEY + 1], value[MPI_MAX_INFO_VAL + 1];
    int keys, flag;
    MPI_Info_get_nkeys(MPI_INFO_ENV, &keys);
    for (int i = 0; i < keys; i++) {
        MPI_Info_get_nthkey(MPI_INFO_ENV, i, key);
        MPI_Info_get(MPI_INFO_ENV, key, MPI_MAX_INFO_VAL, value, &flag);
        /* Open MPI 4.1 has no folder in a command, and keys of its own. */
        char *name = strrchr(value, '/');
        if (strncmp(key, "ompi_", 5) != 0)
            printf("%s: %s\n", key, strcmp(key, "command") == 0 && name ? name + 1 : value);
    }
}

int main(int argc, char **argv)
{
    int rank, provided, key, word;
    MPI_Errhandler handler, of_window;
    MPI_Win win;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Win_create(&word, sizeof word, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    if (rank == 0) {
        launched();
        MPI_Win_get_errhandler(win, &of_window);
        printf("a window's handler: %d\n", of_window == MPI_ERRORS_ARE_FATAL);
        fflush(stdout);
        MPI_Comm_create_errhandler(note, &handler);
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, handler);
        MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, MPI_COMM_NULL_DELETE_FN, &key, NULL);
#ifdef OPEN_MPI
        if (argc > 1 && strcmp(argv[1], "fatal") == 0)
#endif
        {
            MPI_Win_set_attr(win, key, NULL);
            printf("a communicator's key: %d\n", noted == MPI_ERR_KEYVAL);
            MPI_Put(&word, 1, MPI_INT, 1000, 0, 1, MPI_INT, win);
            printf("no such rank: %d\n", noted == MPI_ERR_RANK);
        }
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
        MPI_Errhandler_free(&handler);
        MPI_Comm_free_keyval(&key);
    }
    MPI_Win_free(&win);
    MPI_Finalize();
    return 0;
}
